/** Tabs as ARIA has them: arrows move and choose, Home and End go to the ends; only the chosen one is in the order of Tab. */
import { useId, useRef, type KeyboardEvent, type ReactElement, type ReactNode } from "react";
import classes from "./ui.module.css";

export interface TabItem {
  readonly id: string;
  readonly label: string;
  readonly badge?: ReactNode;
}

export interface TabsProps {
  readonly label: string;
  readonly items: readonly TabItem[];
  readonly value: string;
  readonly onChange: (id: string) => void;
  /** What the chosen tab shows. */
  readonly children: ReactNode;
}

/** Where a key leads from one of `count` places; null for a key that means nothing here. */
export function placeAfter(key: string, at: number, count: number): number | null {
  if (key === "ArrowRight") return (at + 1) % count;
  if (key === "ArrowLeft") return (at - 1 + count) % count;
  if (key === "Home") return 0;
  return key === "End" ? count - 1 : null;
}

export function Tabs({ label, items, value, onChange, children }: TabsProps): ReactElement {
  const id = useId();
  const list = useRef<HTMLDivElement>(null);
  const at = Math.max(
    items.findIndex((one) => one.id === value),
    0,
  );
  const onKeyDown = (event: KeyboardEvent): void => {
    const next = placeAfter(event.key, at, items.length);
    const item = next === null ? undefined : items[next];
    if (next === null || !item) return;
    event.preventDefault();
    onChange(item.id);
    list.current?.querySelectorAll<HTMLElement>('[role="tab"]')[next]?.focus();
  };
  return (
    <div className={classes["stack"]}>
      <div ref={list} role="tablist" aria-label={label} className={classes["tabs"]} onKeyDown={onKeyDown}>
        {items.map((one, i) => (
          <button
            key={one.id}
            type="button"
            role="tab"
            id={`${id}-${one.id}`}
            aria-selected={i === at}
            aria-controls={`${id}-panel`}
            tabIndex={i === at ? 0 : -1}
            className={classes["tab"]}
            onClick={() => onChange(one.id)}
          >
            {one.label}
            {one.badge}
          </button>
        ))}
      </div>
      <div role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-${items[at]?.id ?? ""}`} tabIndex={0}>
        {children}
      </div>
    </div>
  );
}
