/** A button that says what it does; while it is at work it says so and takes no second push. */
import type { ReactElement, ReactNode } from "react";
import { strings } from "../strings";
import classes from "./ui.module.css";

export interface ButtonProps {
  readonly onClick?: () => void;
  readonly kind?: "plain" | "primary" | "danger";
  readonly busy?: boolean;
  readonly disabled?: boolean;
  /** For who does not see around it; begins with what is written on it. */
  readonly label?: string;
  readonly type?: "button" | "submit";
  readonly pressed?: boolean;
  readonly testId?: string;
  readonly children: ReactNode;
}

export function Button({ onClick, kind = "plain", busy = false, disabled = false, label, type = "button", pressed, testId, children }: ButtonProps): ReactElement {
  return (
    <button
      type={type}
      className={classes["button"]}
      data-kind={kind}
      disabled={disabled || busy}
      aria-label={label}
      aria-pressed={pressed}
      aria-busy={busy}
      data-testid={testId}
      onClick={onClick}
    >
      {busy ? strings.ask.working : children}
    </button>
  );
}
