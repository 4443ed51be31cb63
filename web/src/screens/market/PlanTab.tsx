/** The plan behind the bids: energy in store, power, price, and at which price it would be another plan. */
import { useMemo, type ReactElement } from "react";
import { RefusedError } from "../../api/client";
import { useApi } from "../../api/queries";
import { ChartPanel } from "../../charts/ChartPanel";
import { asSteps, POINTS_PER_STEP } from "../../charts/shape";
import type { ChartMark, ChartSeries } from "../../charts/TimeChart";
import { codeWords } from "../../format/market";
import { price, priceTick } from "../../format/money";
import { fixed, percent } from "../../format/number";
import { batteryPhrase, energySize, outward, powerTick } from "../../format/power";
import { intervalWords } from "../../format/time";
import { useNowMs } from "../../live/now";
import layout from "../../ui/layout.module.css";
import { DataTable, Sub } from "../../ui/DataTable";
import { Figure } from "../../ui/figures";
import { Instant, Interval } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { stateOfQuery, type PanelState } from "../../ui/panelState";
import classes from "./market.module.css";
import { moneyWords } from "./money";
import { strings } from "./strings";
import { distanceWords, type Plan, type Resource } from "./words";

const words = strings.plan;
const ASK_MS = 10_000;
/** No plan yet is no fault: the plant says so with one of these. */
const NOT_YET: readonly number[] = [404, 422];

interface Drawn {
  readonly t: number[];
  readonly series: ChartSeries[];
  readonly readTime: (index: number) => string;
}

interface ChartInput {
  readonly plan: Plan;
  readonly marks: readonly ChartMark[];
  readonly rest: number;
}

function atSteps(plan: Plan): (index: number) => string {
  return (index) => {
    const i = Math.floor(index / POINTS_PER_STEP);
    return intervalWords(plan.start_ms[i] ?? 0, plan.end_ms[i] ?? 0, plan.zone);
  };
}

function StoreChart({ plan, marks, rest }: ChartInput): ReactElement {
  const drawn = useMemo((): Drawn => {
    const t = [...plan.start_ms, ...plan.end_ms.slice(-1)];
    const read = (i: number): string | null => {
      const [energy, share] = [plan.soc_kwh[i], plan.soc_frac[i]];
      if (energy == null) return null;
      return share == null ? energySize(energy) : words.share(energySize(energy), percent(share));
    };
    const series: ChartSeries[] = [{ key: "soc", label: words.stored, kind: "area", color: "--battery", values: [...plan.soc_kwh], read }];
    return { t, series, readTime: (i) => intervalWords(t[i] ?? 0, t[i + 1] ?? t[i] ?? 0, plan.zone) };
  }, [plan]);
  const tick = (kwh: number, span: number): string => (span >= 2_000 ? `${fixed(kwh / 1_000, span >= 10_000 ? 0 : 1)} MWh` : `${fixed(kwh, 0)} kWh`);
  return (
    <ChartPanel
      title={words.soc}
      hint={words.socHint}
      testId="plan-soc"
      state={{ kind: "ready" }}
      chart={{ title: words.soc, testId: "plan-soc-chart", t: drawn.t, series: drawn.series, marks, zone: plan.zone, tick, restIndex: rest, height: 200, axisWidth: 78 }}
    />
  );
}

function PowerChart({ plan, marks, rest }: ChartInput): ReactElement {
  const drawn = useMemo((): Drawn => {
    const power = plan.charge_kw.map((kw, i) => (kw === null ? null : kw - (plan.discharge_kw[i] ?? 0)));
    const shaped = asSteps(plan.start_ms, plan.end_ms, [{ kind: "bar", values: power.map(outward) }]);
    const read = (index: number): string => {
      const i = Math.floor(index / POINTS_PER_STEP);
      const kw = power[i];
      const said = kw == null ? words.byPrice : batteryPhrase(kw);
      return plan.by_hand[i] ? `${said}, ${words.byHand}` : said;
    };
    const series: ChartSeries[] = [{ key: "power", label: words.planned, kind: "area", width: 1, color: "--plan", values: shaped.columns[0] ?? [], read }];
    return { t: shaped.t, series, readTime: atSteps(plan) };
  }, [plan]);
  return (
    <ChartPanel
      title={words.power}
      hint={words.powerHint}
      testId="plan-power"
      state={{ kind: "ready" }}
      chart={{
        title: words.power,
        testId: "plan-power-chart",
        ...drawn,
        marks,
        zone: plan.zone,
        tick: powerTick,
        restIndex: rest * POINTS_PER_STEP + 1,
        stride: POINTS_PER_STEP,
        height: 200,
        axisWidth: 84,
      }}
    />
  );
}

function PriceChart({ plan, marks, rest }: ChartInput): ReactElement {
  const drawn = useMemo((): Drawn => {
    // the worth stands at the edges of intervals; drawn over each interval as it is at its end, where what was done has its effect
    const columns = [plan.price_per_mwh, plan.water_value_per_mwh.slice(-plan.start_ms.length), plan.charge_below_per_mwh, plan.discharge_above_per_mwh];
    const shaped = asSteps(
      plan.start_ms,
      plan.end_ms,
      columns.map((values) => ({ kind: "step" as const, values })),
    );
    const say = (c: number) => (index: number): string | null => {
      const value = shaped.columns[c]?.[index];
      return value == null ? null : price(value, plan.currency);
    };
    const [expected = [], worth = [], below = [], above = []] = shaped.columns;
    const every: ChartSeries[] = [
      { key: "price", label: words.expectedPrice, kind: "line", color: "--price", width: 2, values: expected, read: say(0) },
      { key: "worth", label: words.worth, kind: "line", color: "--battery", width: 1.75, dashed: true, values: worth, read: say(1) },
      { key: "below", label: words.chargeBelow, kind: "line", color: "--import", width: 1.25, values: below, read: say(2) },
      { key: "above", label: words.dischargeAbove, kind: "line", color: "--export", width: 1.25, dashed: true, values: above, read: say(3) },
    ];
    return { t: shaped.t, series: every.filter((one) => one.key === "price" || one.values.some((value) => value !== null)), readTime: atSteps(plan) };
  }, [plan]);
  return (
    <ChartPanel
      title={words.price}
      hint={words.priceHint}
      testId="plan-price"
      state={{ kind: "ready" }}
      chart={{
        title: words.price,
        testId: "plan-price-chart",
        ...drawn,
        marks,
        zone: plan.zone,
        tick: (value) => priceTick(value, plan.currency),
        restIndex: rest * POINTS_PER_STEP + 1,
        stride: POINTS_PER_STEP,
        height: 220,
        axisWidth: 64,
        anchorZero: false,
      }}
    />
  );
}

function Flips({ plan }: { plan: Plan }): ReactElement {
  const bindingAt = new Map(plan.start_ms.map((start, i) => [start, plan.binding[i] ?? []] as const));
  return (
    <Panel title={words.flips} hint={words.flipsHint} testId="plan-flips" state={{ kind: "ready" }} empty={plan.flips_at.length === 0 ? (plan.why_none === "" ? words.noFlips : plan.why_none) : null}>
      {() => (
        <DataTable
          caption={words.flips}
          columns={[{ label: words.interval }, { label: words.action }, { label: words.expectedCol, end: true }, { label: words.flipAt, end: true }, { label: words.to }, { label: words.binding }]}
          rows={plan.flips_at.map((one) => ({
            key: `${one.start_ms} ${one.would}`,
            cells: [
              <Interval key="interval" startMs={one.start_ms} endMs={one.end_ms} zone={plan.zone} />,
              words.actions[one.action],
              one.expected_price_per_mwh === null ? strings.unknown : price(one.expected_price_per_mwh, plan.currency),
              <>
                {price(one.price_per_mwh, plan.currency)}
                {one.expected_price_per_mwh === null ? null : <Sub>{distanceWords(one.expected_price_per_mwh, one.price_per_mwh, plan.currency)}</Sub>}
              </>,
              words.actions[one.would],
              (bindingAt.get(one.start_ms) ?? []).join(", ") || words.nothing,
            ],
          }))}
        />
      )}
    </Panel>
  );
}

function Basis({ plan }: { plan: Plan }): ReactElement {
  return (
    <Panel title={words.basedOn} testId="plan-basis" state={{ kind: "ready" }}>
      {() => (
        <div className={classes["figures"]}>
          <Figure label={words.decided} value={<Instant ms={plan.decided_ms} zone={plan.zone} />}>
            {null}
          </Figure>
          <Figure label={words.by} value={codeWords(plan.rung)}>
            {codeWords(plan.strategy)}
          </Figure>
          {plan.expected_amount === null ? null : (
            <Figure label={words.expected} hint={words.expectedHint} value={moneyWords(plan.expected_amount, plan.currency)}>
              {strings.decision.forecastOnly}
            </Figure>
          )}
          <Figure label={words.shadow} value={words.basisName[plan.basis]}>
            {plan.basis === "none" ? plan.why_none : words.basis[plan.basis]}
          </Figure>
        </div>
      )}
    </Panel>
  );
}

export function PlanTab({ resource }: { resource: Resource }): ReactElement {
  const query = useApi("/api/market/plan", { query: { resource: resource.resource_id } }, { everyMs: ASK_MS, keep: true });
  const nowMs = useNowMs() ?? query.data?.as_of_ms ?? 0;
  const plan = query.data;
  if (!plan) {
    const none = query.error instanceof RefusedError && NOT_YET.includes(query.error.status);
    const state: PanelState = none ? { kind: "empty", words: words.none } : stateOfQuery(query);
    return (
      <Panel title={words.title} testId="market-plan" state={state} onRetry={() => void query.refetch()}>
        {() => null}
      </Panel>
    );
  }
  const marks: ChartMark[] = [
    { atMs: nowMs, label: words.now },
    { atMs: plan.gate_ms, label: words.gate },
  ];
  const rest = Math.max(
    plan.start_ms.findLastIndex((start) => start <= nowMs),
    0,
  );
  return (
    <div className={layout["column"]} data-testid="market-plan" data-state={stateOfQuery(query).kind}>
      <Basis plan={plan} />
      <div className={layout["pair"]}>
        <StoreChart plan={plan} marks={marks} rest={rest} />
        <PowerChart plan={plan} marks={marks} rest={rest} />
      </div>
      <PriceChart plan={plan} marks={marks} rest={rest} />
      <Flips plan={plan} />
    </div>
  );
}
