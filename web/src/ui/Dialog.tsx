/** A dialog of the browser's own: it takes the keyboard, Escape closes it, and what lies behind is out of reach. */
import { useEffect, useId, useRef, type ReactElement, type ReactNode } from "react";
import { strings } from "../strings";
import classes from "./Dialog.module.css";

export interface DialogProps {
  readonly title: string;
  readonly onClose: () => void;
  readonly closeLabel?: string;
  readonly wide?: boolean;
  readonly children: ReactNode;
}

export function Dialog({ title, onClose, closeLabel, wide = false, children }: DialogProps): ReactElement {
  const id = useId();
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const shown = element.current;
    if (!shown) return;
    const before = document.activeElement;
    if (!shown.open) shown.showModal();
    // The keyboard begins where there is something to say, not at the way out.
    const first = shown.querySelector<HTMLElement>("[data-first]") ?? shown.querySelector<HTMLElement>("input, textarea, select") ?? shown.querySelector<HTMLElement>("form button");
    first?.focus();
    return () => {
      shown.close();
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={element}
      className={classes["dialog"]}
      data-wide={wide}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <div className={classes["head"]}>
        <h2 id={id}>{title}</h2>
        <button type="button" className={classes["close"]} onClick={onClose} aria-label={closeLabel ?? strings.ask.close}>
          <svg viewBox="0 0 12 12" width={14} height={14} aria-hidden>
            <path d="M2 2 10 10M10 2 2 10" stroke="currentColor" strokeWidth={1.6} />
          </svg>
        </button>
      </div>
      {children}
    </dialog>
  );
}
