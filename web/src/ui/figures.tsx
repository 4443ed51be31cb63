/** Numbers never stand alone: each with its unit, its direction in words, and how sure it is. */
import { Tooltip } from "@mantine/core";
import type { ReactElement, ReactNode } from "react";
import { percent } from "../format/number";
import { batteryPhrase, gridPhrase, IDLE_KW, powerSize, tradePhrase } from "../format/power";
import { duration } from "../format/time";
import { strings } from "../strings";
import { IntervalBar } from "./IntervalBar";
import type { Token } from "./tokens";
import classes from "./figures.module.css";

const words = strings.figures;

/** A value with its unit, digits aligned. */
export function Quantity({ value, testId }: { value: string; testId?: string }): ReactElement {
  return (
    <span className={classes["quantity"]} data-testid={testId}>
      {value}
    </span>
  );
}

/** A label with an explanation on hover, focus and touch, a large value, and what belongs to it below. */
export function Figure(props: { label: string; value: ReactNode; testId?: string; hint?: string; children?: ReactNode }): ReactElement {
  return (
    <div className={classes["figure"]}>
      {props.hint ? (
        <Tooltip label={props.hint} multiline w={260} events={{ hover: true, focus: true, touch: true }}>
          <button type="button" className={classes["explain"]}>
            {props.label}
          </button>
        </Tooltip>
      ) : (
        <div className={classes["label"]}>{props.label}</div>
      )}
      <div className={classes["value"]} data-testid={props.testId}>
        {props.value}
      </div>
      <div className={classes["detail"]}>{props.children}</div>
    </div>
  );
}

export interface EstimateProps {
  readonly lowKw: number;
  readonly expectedKw: number;
  readonly highKw: number;
  readonly color: Token;
  readonly say: (kw: number) => string;
  readonly range: (lowKw: number, highKw: number) => [string, string];
  /** What the fresh sites alone say, told where it is something else. */
  readonly reportedKw?: number;
  readonly testId?: string;
}

/** How sure an estimate is, in words: its range, or that it is exact. */
export function rangeSentence({ lowKw, highKw, range }: Pick<EstimateProps, "lowKw" | "highKw" | "range">): string {
  return Math.abs(highKw - lowKw) < IDLE_KW ? words.exact : words.likely(...range(lowKw, highKw));
}

/** An estimate, its range drawn and in words. */
export function Estimate(props: EstimateProps): ReactElement {
  const { lowKw, expectedKw, highKw, color, say, reportedKw, testId } = props;
  return (
    <div>
      <Quantity value={say(expectedKw)} {...(testId === undefined ? {} : { testId })} />
      <IntervalBar low={lowKw} expected={expectedKw} high={highKw} color={color} />
      <div className={classes["detail"]}>{rangeSentence(props)}</div>
      {reportedKw !== undefined && Math.abs(reportedKw - expectedKw) >= IDLE_KW ? <div className={classes["detail"]}>{words.reported(say(reportedKw))}</div> : null}
    </div>
  );
}

/** The share of capacity that reports; null where there is nothing to have a share of. */
export function Coverage({ frac, countFrac }: { frac: number | null; countFrac?: number | null }): ReactElement {
  if (frac === null) return <span className={classes["dim"]}>{words.coverageNone}</span>;
  return (
    <span>
      <Quantity value={percent(frac, 1)} />
      <span className={classes["share"]} aria-hidden>
        <span style={{ width: `${Math.min(Math.max(frac, 0), 1) * 100}%` }} />
      </span>
      {countFrac === undefined || countFrac === null ? null : <span className={classes["detail"]}>{words.coverageCount(percent(countFrac, 1))}</span>}
    </span>
  );
}

/** How old something is; null for never heard. What is too old says so in a word, not by colour alone. */
export function Age({ seconds, staleAfterS }: { seconds: number | null; staleAfterS?: number }): ReactElement {
  if (seconds === null) return <span className={classes["dim"]}>{words.coverageAgeNone}</span>;
  const old = staleAfterS !== undefined && seconds > staleAfterS;
  return (
    <span className={classes["quantity"]} data-old={old}>
      {old ? words.ageOld(duration(seconds)) : words.age(duration(seconds))}
    </span>
  );
}

export type PowerKind = "battery" | "grid" | "solar" | "load" | "trade";

const SAY: Record<PowerKind, (kw: number) => string> = {
  battery: batteryPhrase,
  grid: gridPhrase,
  trade: tradePhrase,
  solar: (kw) => (Math.abs(kw) < IDLE_KW ? strings.direction.nothing : strings.direction.generating(powerSize(kw))),
  load: (kw) => strings.direction.using(powerSize(kw)),
};

/** Where the arrow points: up gives power, down takes it. */
export function arrowOf(kw: number): "up" | "down" | null {
  return Math.abs(kw) < IDLE_KW ? null : kw < 0 ? "up" : "down";
}

/** A power in words with an arrow; null is said to be unknown. */
export function PowerWords({ kw, kind }: { kw: number | null; kind: PowerKind }): ReactElement {
  if (kw === null) return <span className={classes["dim"]}>{strings.panel.noValue}</span>;
  const arrow = arrowOf(kw);
  return (
    <span className={classes["quantity"]} data-kind={kind}>
      {arrow === null ? null : (
        <span className={classes["arrow"]} data-arrow={strings.direction[arrow]} aria-hidden />
      )}
      {SAY[kind](kw)}
    </span>
  );
}
