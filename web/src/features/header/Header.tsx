/** What plant, what time it is there, how fast time runs, and whether the page shows the present. */
import { Tooltip } from "@mantine/core";
import type { ReactElement, ReactNode } from "react";
import { fixed, percent } from "../../format/number";
import { clock, duration, utc } from "../../format/time";
import { useNowMs, usePresence, type Presence } from "../../live/now";
import { useLive, useLivePart } from "../../live/store";
import { strings } from "../../strings";
import { Pill, type Tone } from "../../ui/Pill";
import classes from "./Header.module.css";

const TONES: Record<Presence, Tone> = {
  connecting: "calm",
  live: "live",
  finished: "calm",
  stale: "warn",
  reconnecting: "warn",
};

function speedWords(speed: number | null): string {
  if (speed === null) return strings.speed.unlimited;
  return speed === 1 ? strings.speed.real : strings.speed.times(fixed(speed, Number.isInteger(speed) ? 0 : 1));
}

function Connection(): ReactElement {
  const { presence, silentS } = usePresence();
  const fault = useLive((view) => view.fault);
  const words = presence === "stale" ? strings.link.stale(duration(silentS)) : strings.link[presence];
  return (
    <span role="status" data-testid="connection" data-presence={presence} title={fault ? strings.link.fault(fault) : undefined}>
      <Pill tone={TONES[presence]} dot>
        {words}
      </Pill>
    </span>
  );
}

function Clock(): ReactElement | null {
  const now = useNowMs();
  const zone = useLivePart("zone");
  const serverMs = useLivePart("now_ms");
  if (now === null || zone === null) return null;
  return (
    <Tooltip label={`${utc(now)}, ${zone}`} events={{ hover: true, focus: true, touch: true }}>
      <time
        className={classes["clock"]}
        data-testid="now-clock"
        data-server-ms={serverMs}
        dateTime={new Date(now).toISOString()}
        tabIndex={0}
        title={strings.localTime(zone)}
      >
        {clock(now, zone)}
      </time>
    </Tooltip>
  );
}

export function Header({ end }: { end?: ReactNode }): ReactElement {
  const speed = useLivePart("speed");
  const run = useLivePart("run");
  const known = useLive((view) => view.state !== null);
  return (
    <header className={classes["header"]}>
      <div className={classes["brand"]}>
        <img src="./icon.svg" alt="" width={28} height={28} />
        <div>
          <div className={classes["name"]}>{strings.product}</div>
          <div className={classes["tagline"]}>{strings.tagline}</div>
        </div>
      </div>
      <div className={classes["facts"]}>
        <Clock />
        {known ? <Pill>{speedWords(speed)}</Pill> : null}
        <Connection />
        {run ? (
          <label className={classes["progress"]} title={strings.progress(percent(run.done_frac))}>
            <progress aria-label={strings.progressLabel} max={1} value={run.done_frac} data-testid="run-progress" />
            <span>{strings.progress(percent(run.done_frac))}</span>
          </label>
        ) : null}
        {end}
      </div>
    </header>
  );
}
