/** How bad something is: a word and a shape of its own, with more corners the worse it is. */
import type { ReactElement } from "react";
import type { Severity as SeverityName } from "../api/types";
import { strings } from "../strings";
import { Pill, type Tone } from "./Pill";
import classes from "./ui.module.css";

export const SHAPES: Record<SeverityName, string> = {
  notice: "M6 1.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9Z",
  warning: "M6 1 11.5 11H.5Z",
  major: "M6 .5 11.5 6 6 11.5.5 6Z",
  critical: "M3.5.5h5l3 3v5l-3 3h-5l-3-3v-5Z",
};

export const TONES: Record<SeverityName, Tone> = { notice: "calm", warning: "warn", major: "warn", critical: "bad" };

/** From the worst to the least. */
export const SEVERITIES: readonly SeverityName[] = ["critical", "major", "warning", "notice"];

/** The shape alone. */
export function SeverityShape({ value }: { value: SeverityName }): ReactElement {
  return (
    <svg className={classes["shape"]} viewBox="0 0 12 12" aria-hidden>
      <path d={SHAPES[value]} />
    </svg>
  );
}

export function Severity({ value }: { value: SeverityName }): ReactElement {
  return (
    <Pill tone={TONES[value]}>
      <SeverityShape value={value} />
      {strings.severity[value]}
    </Pill>
  );
}
