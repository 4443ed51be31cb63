/** Instants as people of the plant read them: local, with the zone where it matters, UTC on hover. */
import type { ReactElement } from "react";
import { clock, countdown, dayHour, dayMonth, hourMinute, intervalWords, utc } from "../format/time";
import { useNowMs } from "../live/now";
import { useLivePart } from "../live/store";
import { strings } from "../strings";

export type InstantForm = "clock" | "dayHour" | "time" | "day";

const SAY: Record<InstantForm, (ms: number, zone: string) => string> = { clock, dayHour, time: hourMinute, day: dayMonth };

/** The plant's zone. */
export function useZone(): string {
  return useLivePart("zone") ?? "UTC";
}

export function Instant({ ms, zone, show = "dayHour" }: { ms: number; zone?: string; show?: InstantForm }): ReactElement {
  const ours = useZone();
  const local = zone ?? ours;
  return (
    <time dateTime={new Date(ms).toISOString()} title={strings.instant.hover(utc(ms), local)}>
      {SAY[show](ms, local)}
    </time>
  );
}

export function Interval({ startMs, endMs, zone }: { startMs: number; endMs: number; zone?: string }): ReactElement {
  const ours = useZone();
  const local = zone ?? ours;
  return <span title={strings.instant.hover(strings.panel.interval(utc(startMs), utc(endMs)), local)}>{intervalWords(startMs, endMs, local)}</span>;
}

/** How long until an instant of the plant; what is said when it has passed. */
export function Countdown({ toMs, over }: { toMs: number; over: string }): ReactElement {
  const now = useNowMs();
  return <span className="tabular">{now === null ? strings.panel.noValue : (countdown(toMs - now) ?? over)}</span>;
}
