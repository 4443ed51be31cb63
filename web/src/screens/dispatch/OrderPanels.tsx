/** How one order goes: figures now, commanded against measured over time, feeder by feeder, and everything done to it. */
import { useEffect, useMemo, useState, type ReactElement } from "react";
import { useApi } from "../../api/queries";
import { links } from "../../app/links";
import { ScreenLink } from "../../app/nav";
import { ChartPanel } from "../../charts/ChartPanel";
import { withGaps } from "../../charts/shape";
import type { Band, TimeChartProps } from "../../charts/TimeChart";
import { count, percent } from "../../format/number";
import { batteryPhrase, batteryRange, IDLE_KW, outward, powerSize, powerTick } from "../../format/power";
import { duration } from "../../format/time";
import { strings as shared } from "../../strings";
import { DataTable, Sub } from "../../ui/DataTable";
import { Age, Coverage, Figure, Quantity, rangeSentence } from "../../ui/figures";
import { Instant, useZone } from "../../ui/Instant";
import { IntervalBar } from "../../ui/IntervalBar";
import { Panel } from "../../ui/Panel";
import { LOADING, READY, stateOfQuery, type PanelState } from "../../ui/panelState";
import classes from "./dispatch.module.css";
import type { OrderFeeder, OrderNow, OrderRow, OrderStep } from "./records";
import { askedWords, powerWords, rangeWords } from "./said";
import { strings } from "./strings";
import { extended, joined, type Point } from "./track";

const words = strings.order;
const BANDS: readonly Band[] = [{ upper: "high", lower: "low", color: "--battery" }];
const NO_POINTS: readonly Point[] = [];
const POINTS = 480;

function Figures({ now }: { now: OrderNow }): ReactElement {
  const { sites } = now;
  const short = now.shortfall_kw;
  return (
    <div className={classes["figures"]}>
      <Figure label={words.commanded} value={<Quantity value={askedWords(now.commanded_kw)} />} testId="order-commanded">
        {now.told_phase === "" ? null : words.told(words.toldPhases[now.told_phase] ?? now.told_phase)}
      </Figure>
      <Figure label={words.measured} value={<Quantity value={powerWords(now.measured_kw)} />} testId="order-measured">
        <IntervalBar low={now.low_kw} expected={now.measured_kw ?? (now.low_kw + now.high_kw) / 2} high={now.high_kw} color="--battery" />
        {rangeSentence({ lowKw: now.low_kw, highKw: now.high_kw, range: batteryRange })}
      </Figure>
      <Figure label={words.short} value={<Quantity value={short === null ? shared.panel.noValue : short < IDLE_KW ? words.notShort : powerSize(short)} />} testId="order-short" />
      <Figure label={words.coverage} value={<Coverage frac={now.coverage_frac} />} testId="order-coverage">
        <Age seconds={now.oldest_age_s} />
      </Figure>
      <Figure label={words.sites} value={<Quantity value={words.meant(count(sites.meant))} />} testId="order-sites">
        <div>{sites.answering === null ? words.answeringNone(count(sites.fresh), count(sites.meant)) : words.answering(count(sites.answering), count(sites.fresh))}</div>
        <div>{words.trouble(count(sites.refused), count(sites.left), count(sites.stopped))}</div>
        {Object.entries(now.reasons).map(([why, n]) => (
          <div key={why}>{words.refusedBecause(why, count(n))}</div>
        ))}
      </Figure>
    </div>
  );
}

export interface NowProps {
  readonly now: OrderNow | null;
  readonly fault: string | null;
  readonly row: OrderRow;
  /** Seconds without news, of a connection that is old; null while it is not. */
  readonly silentS: number | null;
}

/** How what the feed says stands. */
export function standing({ now, fault, row, silentS }: NowProps): PanelState {
  if (row.phase === "past") return { kind: "empty", words: words.over };
  if (now === null) return fault === null ? LOADING : { kind: "error", words: fault };
  if (fault !== null) return { kind: "partial", words: fault };
  return silentS === null ? READY : { kind: "stale", ageS: silentS };
}

export function NowPanel(props: NowProps): ReactElement {
  const { now } = props;
  return (
    <Panel title={words.now} hint={words.nowHint} testId="order-now" state={standing(props)}>
      {() => (now ? <Figures now={now} /> : words.waiting)}
    </Panel>
  );
}

function feederRow(one: OrderFeeder): { key: string; cells: (string | ReactElement)[] } {
  const told = words.feeders;
  const why = Object.entries(one.reasons).map(([reason, n]) => told.reason(count(n), reason));
  return {
    key: one.group_id,
    cells: [
      one.group_id === "" ? (
        strings.preview.feeders.noGroup
      ) : (
        <ScreenLink key="feeder" to={links.node(one.group_id)}>
          {one.name}
        </ScreenLink>
      ),
      askedWords(one.commanded_kw),
      powerWords(one.measured_kw),
      rangeWords(one.low_kw, one.high_kw),
      one.coverage_frac === null ? shared.panel.noValue : percent(one.coverage_frac, 1),
      one.oldest_age_s === null ? shared.panel.noValue : duration(one.oldest_age_s),
      one.answering === null ? shared.panel.noValue : told.answeringOf(count(one.answering), count(one.sites)),
      <div key="refused">
        {count(one.refused)}
        {why.length === 0 ? null : <Sub>{told.reasons(why)}</Sub>}
      </div>,
    ],
  };
}

export function OrderFeeders(props: NowProps): ReactElement {
  const told = words.feeders;
  const { now } = props;
  const state = standing(props);
  const columns = [told.feeder, told.commanded, told.measured, told.range].map((label) => ({ label }));
  const ends = [told.coverage, told.age, told.answering, told.refused].map((label) => ({ label, end: true }));
  return (
    <Panel title={told.title} hint={told.hint} testId="order-feeders" state={state.kind === "ready" && now?.by_feeder.length === 0 ? { kind: "empty", words: told.empty } : state}>
      {() => (
        <>
          {now?.shared === "by rating" ? <p className={classes["hint"]}>{words.byRating}</p> : null}
          <DataTable long={(now?.by_feeder.length ?? 0) > 14} caption={told.title} columns={[...columns, ...ends]} rows={(now?.by_feeder ?? []).map(feederRow)} />
        </>
      )}
    </Panel>
  );
}

/** The points since the screen was opened, as the feed says them. */
function useLivePoints(now: OrderNow | null): readonly Point[] {
  const [points, setPoints] = useState<readonly Point[]>(NO_POINTS);
  useEffect(() => {
    if (now) setPoints((held) => extended(held, now));
  }, [now]);
  return points;
}

export function TrackPanel({ row, now }: { row: OrderRow; now: OrderNow | null }): ReactElement {
  const zone = useZone();
  const live = useLivePoints(now);
  const past = row.phase === "past";
  const query = useApi("/api/dispatch/orders/{order_id}/series", { path: { order_id: row.order_id }, query: { points: POINTS } }, { keep: true, ...(past ? {} : { everyMs: 30_000 }) });
  const chart = useMemo<TimeChartProps>(() => {
    const points = joined(query.data, live);
    const { t, columns } = withGaps(
      points.map((one) => one.t),
      [points.map((one) => one.commanded), points.map((one) => one.measured), points.map((one) => one.low), points.map((one) => one.high)],
      3,
      180_000,
    );
    const [commanded = [], measured = [], low = [], high = []] = columns;
    const say = (values: readonly (number | null)[]) => (i: number): string | null => {
      const value = values[i] ?? null;
      return value === null ? null : batteryPhrase(value);
    };
    const range = (i: number): string | null => {
      const [from, to] = [low[i] ?? null, high[i] ?? null];
      return from === null || to === null ? null : rangeWords(from, to);
    };
    return {
      title: words.chart.title,
      testId: "order-chart",
      t,
      series: [
        // up gives power: the lower of two load-positive bounds is drawn above
        { key: "high", label: words.chart.range, color: "--battery", kind: "edge", values: low.map(outward), read: range },
        { key: "low", label: words.chart.range, color: "--battery", kind: "edge", values: high.map(outward) },
        { key: "measured", label: words.measured, color: "--battery", kind: "line", values: measured.map(outward), read: say(measured) },
        { key: "commanded", label: words.commanded, color: "--plan", kind: "line", dashed: true, values: commanded.map(outward), read: say(commanded) },
      ],
      bands: BANDS,
      spans: [{ fromMs: row.start_ms, toMs: row.end_ms, label: words.chart.span, color: "--plan" }],
      zone,
      tick: powerTick,
      restIndex: t.length - 1,
      stride: Math.max(1, Math.round(t.length / 96)),
    };
  }, [query.data, live, row.start_ms, row.end_ms, zone]);
  const asked = stateOfQuery(query);
  const state: PanelState = asked.kind !== "loading" && asked.kind !== "error" && chart.t.length === 0 ? { kind: "empty", words: words.chart.empty } : chart.t.length > 0 && asked.kind === "loading" ? READY : asked;
  return <ChartPanel title={words.chart.title} hint={words.chart.hint} testId="order-track" state={state} chart={chart} onRetry={() => void query.refetch()} />;
}

export function AuditPanel({ steps }: { steps: readonly OrderStep[] }): ReactElement {
  const told = words.audit;
  return (
    <Panel title={told.title} hint={told.hint} testId="order-audit" state={steps.length === 0 ? { kind: "empty", words: told.empty } : READY}>
      {() => (
        <DataTable
          long={steps.length > 10}
          caption={told.title}
          columns={[{ label: told.time }, { label: told.what }, { label: told.by }, { label: told.outcome }]}
          rows={[...steps].reverse().map((one) => ({
            key: String(one.number),
            cells: [
              <Instant key="time" ms={one.at_ms} show="clock" />,
              <div key="what">
                {told.actions[one.action] ?? one.action}
                {one.detail === "" ? null : <Sub>{one.detail}</Sub>}
              </div>,
              one.by === "" ? told.nobody : one.by,
              <div key="outcome">
                {one.outcome}
                {one.reason === "" ? null : <Sub>{one.reason}</Sub>}
              </div>,
            ],
          }))}
        />
      )}
    </Panel>
  );
}
