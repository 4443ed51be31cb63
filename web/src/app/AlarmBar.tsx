/** The alarms that stand, in view on every screen: calm in one line, and one link from the worst of them to its cause. */
import type { ReactElement } from "react";
import type { Schema } from "../api/client";
import type { Alarm, Alarms } from "../api/types";
import { what } from "../features/alarms/alarms";
import { count } from "../format/number";
import { duration } from "../format/time";
import { usePresence, useNowMs } from "../live/now";
import { useFeed, useLive, useLivePart } from "../live/store";
import { strings } from "../strings";
import { SEVERITIES, SeverityShape, TONES } from "../ui/Severity";
import classes from "./AlarmBar.module.css";
import { links } from "./links";
import { ScreenLink } from "./nav";

const words = strings.alarmBar;

type Aside = Schema["AlarmsAside"];

export interface AlarmLine {
  readonly counts: readonly { readonly severity: Alarm["severity"]; readonly count: number }[];
  /** Beyond those that were sent. */
  readonly more: number;
  /** Put aside for a while, and so not counted. */
  readonly aside: number;
  /** The worst that nobody has taken note of, the oldest of them. */
  readonly worst: Alarm | null;
}

/** What the bar says of the alarms that stand. Pure. */
export function alarmLine(alarms: Alarms, shelf: Aside | null = null): AlarmLine {
  const away = new Set(shelf?.aside ?? []);
  const awake = alarms.active.filter((one) => !away.has(one.number));
  const open = awake.filter((one) => one.acknowledged_ms === null && one.returned_ms === null);
  const worst = [...open].sort((a, b) => SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity) || a.raised_ms - b.raised_ms)[0] ?? null;
  const sent = (severity: Alarm["severity"]): number => awake.filter((one) => one.severity === severity).length;
  // The plant counts all of them; until it has said so, those that were sent are counted here.
  const counts = SEVERITIES.map((severity) => ({ severity, count: shelf === null ? sent(severity) : (shelf.standing[severity] ?? 0) })).filter((one) => one.count > 0);
  return { counts, more: shelf === null ? alarms.active_count - alarms.active.length : 0, aside: shelf?.aside_count ?? 0, worst };
}

function Trust(): ReactElement | null {
  const { presence, silentS } = usePresence();
  const slow = useLive((view) => view.slow);
  if (presence === "reconnecting") return <p className={classes["trust"]}>{words.away(duration(silentS))}</p>;
  if (presence === "stale") return <p className={classes["trust"]}>{words.stale(duration(silentS))}</p>;
  return slow ? <p className={classes["trust"]}>{words.slow}</p> : null;
}

export function AlarmBar(): ReactElement {
  const alarms = useLivePart("alarms");
  const now = useNowMs();
  const { value: shelf } = useFeed<Aside>("alarms/aside");
  const line = alarms ? alarmLine(alarms, shelf) : null;
  const worst = line?.worst ?? null;
  return (
    <section aria-label={words.label} className={classes["bar"]} data-tone={worst ? TONES[worst.severity] : "calm"} data-testid="alarm-bar">
      <div role="status" className={classes["line"]}>
        <Trust />
        {line === null ? <span className={classes["dim"]}>{words.waiting}</span> : null}
        {line && line.counts.length === 0 ? <span className={classes["dim"]}>{words.none}</span> : null}
        {line && line.counts.length > 0 ? (
          <ScreenLink to={links.alarms()} className={classes["counts"]}>
            {line.counts.map((one) => (
              <span key={one.severity} className={classes["count"]} data-tone={TONES[one.severity]}>
                <SeverityShape value={one.severity} />
                {words.count(count(one.count), strings.severity[one.severity])}
              </span>
            ))}
            {line.more > 0 ? <span className={classes["count"]}>{words.more(count(line.more))}</span> : null}
          </ScreenLink>
        ) : null}
        {line && line.aside > 0 ? (
          <span className={classes["dim"]} data-testid="alarm-aside">
            {words.aside(count(line.aside))}
          </span>
        ) : null}
        {worst ? (
          <ScreenLink to={links.alarm(worst.number)} className={classes["worst"]} testId="alarm-worst">
            {words.worst(what(worst), worst.name, now === null ? "" : duration(Math.max(0, (now - worst.raised_ms) / 1000)))}
          </ScreenLink>
        ) : null}
      </div>
    </section>
  );
}
