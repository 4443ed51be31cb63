/** What a site does now, in words and arrows, each value with its age; and what is asked of it against what it follows. */
import type { ReactElement } from "react";
import { count, percent } from "../../format/number";
import { energySize } from "../../format/power";
import { duration } from "../../format/time";
import type { Feed } from "../../live/store";
import { DataTable } from "../../ui/DataTable";
import { Age, Figure, PowerWords, Quantity, type PowerKind } from "../../ui/figures";
import { Instant, Interval } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import type { PanelState } from "../../ui/panelState";
import classes from "./Screen.module.css";
import { askWords, sentenceOf, type SiteAsked, type SiteNow } from "./site";
import { strings } from "./strings";

const words = strings.now;

/** How the live panels stand. */
export function stateOfFeed({ value, fault }: Pick<Feed<SiteNow>, "value" | "fault">): PanelState {
  if (value === null) return fault === null ? { kind: "loading" } : { kind: "error", words: fault };
  if (value.heard_ms === null) return { kind: "empty", words: words.never };
  if (value.grade === "stale" || value.grade === "unknown") return { kind: "stale", ageS: value.age_s };
  return { kind: "ready" };
}

const SIGNALS: readonly { readonly signal: string; readonly label: string; readonly kind: PowerKind }[] = [
  { signal: "battery", label: words.battery, kind: "battery" },
  { signal: "solar", label: words.solar, kind: "solar" },
  { signal: "load", label: words.load, kind: "load" },
  { signal: "ev", label: words.ev, kind: "load" },
];

function Flow({ now }: { now: SiteNow }): ReactElement {
  const sentence = sentenceOf(now);
  const about = now.flags.map((one) => one.about);
  return (
    <>
      {sentence === null ? null : (
        <p className={classes["sentence"]} data-testid="site-sentence">
          {sentence}
        </p>
      )}
      <p className={classes["dim"]} data-testid="site-grade">
        {words.state(strings.grade[now.grade] ?? now.grade, duration(now.age_s ?? 0))}
      </p>
      {about.length === 0 ? null : <p className={classes["doubt"]}>{words.flags(about)}</p>}
      <div className={classes["figures"]}>
        {SIGNALS.map(({ signal, label, kind }) => {
          const one = now.signals.find((found) => found.signal === signal);
          const kw = one?.power_kw ?? null;
          return (
            <Figure key={signal} label={label} value={kw === null ? words.notMeasured : <PowerWords kw={kw} kind={kind} />}>
              {one && one.age_s !== null ? <Age seconds={one.age_s} {...(one.grade === "fresh" ? {} : { staleAfterS: 0 })} /> : null}
            </Figure>
          );
        })}
        <Figure label={words.grid} hint={words.gridHint} value={now.grid_kw === null ? words.notMeasured : <PowerWords kw={now.grid_kw} kind="grid" />}>
          {now.grid_kw === null ? null : words.gridAdded}
        </Figure>
        <Figure label={words.charge} value={now.soc_frac === null ? words.notMeasured : <Quantity value={percent(now.soc_frac)} />}>
          {now.energy_kwh === null ? null : words.chargeDetail(energySize(now.energy_kwh), energySize(now.energy_capacity_kwh), percent(now.reserve_frac))}
        </Figure>
      </div>
    </>
  );
}

export function FlowPanel({ feed }: { feed: Feed<SiteNow> }): ReactElement {
  return (
    <Panel title={words.title} hint={words.hint} state={stateOfFeed(feed)} testId="site-now">
      {() => (feed.value === null ? null : <Flow now={feed.value} />)}
    </Panel>
  );
}

export function OrdersTable({ asked, caption }: { asked: readonly SiteAsked[]; caption: string }): ReactElement {
  const { order } = strings;
  return (
    <DataTable
      caption={caption}
      columns={[{ label: order.order }, { label: order.program }, { label: order.what }, { label: order.span }, { label: order.by }]}
      rows={asked.map((one) => ({
        key: one.order_id,
        cells: [one.order_id, one.program, askWords(one), <Interval key="span" startMs={one.from_ms} endMs={one.until_ms} />, one.by],
      }))}
    />
  );
}

function Asked({ now }: { now: SiteNow }): ReactElement {
  const { asked, stop, reported } = now;
  const said = strings.asked;
  const follows = reported.following;
  return (
    <>
      {stop === null ? null : (
        <p className={classes["halted"]} role="alert">
          {said.stop(said.stopKind[stop.kind] ?? stop.kind, stop.by, stop.reason)}
        </p>
      )}
      <p className={classes["sentence"]} data-testid="site-following">
        {follows === null ? said.silent : follows === 0 ? said.alone : said.following(count(follows))}
      </p>
      {reported.refused_ms === null ? null : (
        <p className={classes["doubt"]}>
          {said.refused(reported.refused)} <Instant ms={reported.refused_ms} />
        </p>
      )}
      {asked.length === 0 ? <p className={classes["dim"]}>{said.nothing}</p> : <OrdersTable asked={asked} caption={said.caption} />}
    </>
  );
}

export function AskedPanel({ feed }: { feed: Feed<SiteNow> }): ReactElement {
  const state = stateOfFeed(feed);
  // what is asked stands also for a site that was never heard
  const shown: PanelState = state.kind === "empty" ? { kind: "ready" } : state;
  return (
    <Panel title={strings.asked.title} hint={strings.asked.hint} state={shown} testId="site-asked">
      {() => (feed.value === null ? null : <Asked now={feed.value} />)}
    </Panel>
  );
}
