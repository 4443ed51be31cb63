/** What the home does now, in words and arrows; a bar for the battery, with what is kept of it. */
import type { ReactElement, ReactNode } from "react";
import type { Schema } from "../api/client";
import { percent } from "../format/number";
import { energySize, IDLE_KW, powerSize } from "../format/power";
import { duration } from "../format/time";
import { useFeed } from "../live/store";
import { Card } from "./Card";
import classes from "./Home.module.css";
import { strings } from "./strings";

const words = strings.live;

/** A home that was silent for longer is said to be old. */
const LATE_S = 300;

export interface Said {
  readonly words: string;
  /** Up where it gives power to the others, down where it takes it; nothing while nothing flows. */
  readonly arrow: string;
}

type Now = Schema["HomeNow"];

function said(kw: number | null, taking: (size: string) => string, giving: (size: string) => string, none: string): Said {
  if (kw === null) return { words: strings.unknown, arrow: "" };
  if (Math.abs(kw) < IDLE_KW) return { words: none, arrow: "" };
  return kw > 0 ? { words: taking(powerSize(kw)), arrow: words.down } : { words: giving(powerSize(kw)), arrow: words.up };
}

/** Each part of a home in words; an arrow up gives power to the others, one down takes it, as everywhere in the plant. */
export function flowOf(now: Pick<Now, "battery_kw" | "solar_kw" | "load_kw" | "ev_kw" | "grid_kw">): Record<"battery" | "solar" | "load" | "car" | "grid", Said> {
  return {
    battery: said(now.battery_kw, words.charging, words.discharging, words.resting),
    solar: said(now.solar_kw, words.using, words.making, words.dark),
    load: said(now.load_kw, words.using, words.making, words.dark),
    car: said(now.ev_kw, words.charging, words.discharging, words.resting),
    grid: said(now.grid_kw, words.importing, words.exporting, words.even),
  };
}

function Line({ name, shape, children }: { name: string; shape: string; children: ReactNode }): ReactElement {
  return (
    <div className={classes["line"]}>
      <dt>
        <span className={classes["dot"]} data-of={shape} aria-hidden />
        {name}
      </dt>
      <dd>{children}</dd>
    </div>
  );
}

function Flowing({ of }: { of: Said }): ReactElement {
  return (
    <>
      {of.words}
      {of.arrow === "" ? null : <span aria-hidden className={classes["arrow"]} data-arrow={of.arrow} />}
    </>
  );
}

function Charge({ frac, kwh, reserve }: { frac: number; kwh: number | null; reserve: number | null }): ReactElement {
  const kept = reserve === null ? null : percent(reserve);
  return (
    <div>
      <div className={classes["charge"]} role="img" aria-label={words.bar(percent(frac), kept ?? strings.unknown)}>
        <svg viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden>
          <rect x={0} y={0} width={100} height={14} className={classes["empty"]} />
          <rect x={0} y={0} width={100 * frac} height={14} className={classes["full"]} />
          {reserve === null ? null : <rect x={Math.max(100 * reserve - 0.5, 0)} y={0} width={1} height={14} className={classes["mark"]} />}
        </svg>
      </div>
      <p className={classes["dim"]}>
        <strong>{kwh === null ? percent(frac) : words.stored(percent(frac), energySize(kwh))}</strong>
        {kept === null ? null : <span className={classes["aside"]}>{words.keptMark(kept)}</span>}
      </p>
    </div>
  );
}

/** What the home does, live. `reserve` is what its owner keeps, null while that is not known. */
export function Flow({ siteId, reserve }: { siteId: string; reserve: number | null }): ReactElement {
  const feed = useFeed<Now>(`home/${siteId}`);
  const now = feed.value;
  const card = { title: words.title, testId: "home-live" };
  if (now === null) {
    return (
      <Card {...card} state={feed.fault === null ? "loading" : "error"}>
        {feed.fault === null ? <p role="status">{strings.asking}</p> : <p role="alert">{feed.fault}</p>}
      </Card>
    );
  }
  if (now.age_s === null) return <Card {...card}><p>{words.never}</p></Card>;
  const late = now.age_s > LATE_S || now.grade === "stale" || feed.fault !== null;
  const flow = flowOf(now);
  return (
    <Card {...card} state={late ? "stale" : "ready"}>
      {late ? <p className={classes["note"]} role="status">{feed.fault ?? words.late(duration(now.age_s))}</p> : null}
      {now.soc_frac === null ? null : <Charge frac={now.soc_frac} kwh={now.energy_kwh} reserve={reserve} />}
      <dl className={classes["flow"]}>
        <Line name={words.battery} shape="battery"><Flowing of={flow.battery} /></Line>
        <Line name={words.solar} shape="solar"><Flowing of={flow.solar} /></Line>
        <Line name={words.load} shape="load"><Flowing of={flow.load} /></Line>
        {now.ev_kw === null ? null : <Line name={words.car} shape="load"><Flowing of={flow.car} /></Line>}
        <Line name={words.grid} shape={(now.grid_kw ?? 0) < 0 ? "export" : "import"}><Flowing of={flow.grid} /></Line>
      </dl>
      {late ? null : <p className={classes["dim"]}>{words.asOf(duration(now.age_s))}</p>}
    </Card>
  );
}
