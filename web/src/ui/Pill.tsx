/** A word with a tone. Calm unless a person should look. */
import type { ReactElement, ReactNode } from "react";
import classes from "./ui.module.css";

export type Tone = "calm" | "live" | "warn" | "bad";

export function Pill({ tone = "calm", dot = false, children }: { tone?: Tone; dot?: boolean; children: ReactNode }): ReactElement {
  return (
    <span className={classes["pill"]} data-tone={tone}>
      {dot ? <span className={classes["dot"]} aria-hidden /> : null}
      {children}
    </span>
  );
}
