/** An estimate with its range on a line that holds nothing as well, so that the width of the doubt is seen in proportion. */
import type { ReactElement } from "react";
import type { Token } from "./tokens";
import classes from "./IntervalBar.module.css";

export interface IntervalBarProps {
  readonly low: number;
  readonly expected: number;
  readonly high: number;
  readonly color: Token;
}

/** Where things lie on the line, in percent from the left; what gives power is to the right, as it is up in the charts. */
export function placesOf(low: number, expected: number, high: number): { zero: number; from: number; to: number; at: number } {
  const [least, most] = [Math.min(low, expected, 0), Math.max(high, expected, 0)];
  const span = most - least || 1;
  const place = (value: number): number => ((most - value) / span) * 100;
  return { zero: place(0), from: place(high), to: place(low), at: place(expected) };
}

/** Decoration: the same is said in words beside it. */
export function IntervalBar({ low, expected, high, color }: IntervalBarProps): ReactElement {
  const { zero, from, to, at } = placesOf(low, expected, high);
  return (
    <div className={classes["line"]} style={{ color: `var(${color})` }} aria-hidden>
      <div className={classes["zero"]} style={{ left: `${zero}%` }} />
      <div className={classes["band"]} style={{ left: `${from}%`, width: `${to - from}%` }} />
      <div className={classes["at"]} style={{ left: `${at}%` }} />
    </div>
  );
}
