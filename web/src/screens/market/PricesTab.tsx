/** What was paid and what is expected, what that rests on, and every product with its gate. */
import { useMemo, type ReactElement } from "react";
import { useApi } from "../../api/queries";
import { ChartPanel } from "../../charts/ChartPanel";
import { fanOf } from "../../charts/fan";
import { asSteps, POINTS_PER_STEP } from "../../charts/shape";
import type { Band, ChartMark, ChartSeries } from "../../charts/TimeChart";
import { codeWords } from "../../format/market";
import { price, priceTick } from "../../format/money";
import { count } from "../../format/number";
import { deliveryDay, intervalWords } from "../../format/time";
import { useNowMs } from "../../live/now";
import { DataTable, PickButton, Sub } from "../../ui/DataTable";
import { Age, Figure } from "../../ui/figures";
import { Countdown, Instant } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { stateOfQuery, type PanelState } from "../../ui/panelState";
import { BidStanding } from "./Gates";
import classes from "./market.module.css";
import { strings } from "./strings";
import { coveredOf, newest, nextGate, type Prices, type Product, type Resource } from "./words";

const words = strings.prices;
const ASK_MS = 5_000;
const OLD_FORECAST_S = 36 * 3_600;
const NO_NUMBERS: readonly (number | null)[] = [];
const WIDE = { "0.05": NO_NUMBERS, "0.5": NO_NUMBERS, "0.95": NO_NUMBERS };
/** The bands of a forecast that says the inner half, too, and of one that does not; new values do not make a new plot. */
const BANDS = { both: fanOf({ ...WIDE, "0.25": NO_NUMBERS, "0.75": NO_NUMBERS }, "--forecast", String).bands, wide: fanOf(WIDE, "--forecast", String).bands };

interface Fan {
  readonly t: number[];
  readonly series: ChartSeries[];
  readonly bands: readonly Band[];
  readonly readTime: (index: number) => string;
}

function useFan(held: Prices | undefined): Fan {
  return useMemo(() => {
    if (!held) return { t: [], series: [], bands: BANDS.wide, readTime: String };
    const halves = held.q25.some((one) => one !== null) && held.q75.some((one) => one !== null);
    const columns = [held.q05, held.q25, held.q50, held.q75, held.q95, held.actual].map((values) => ({ kind: "step" as const, values }));
    const shaped = asSteps(held.start_ms, held.end_ms, columns);
    const [q05 = [], q25 = [], q50 = [], q75 = [], q95 = [], actual = []] = shaped.columns;
    const say = (values: readonly (number | null)[]) => (i: number): string | null => {
      const value = values[i];
      return value == null ? null : price(value, held.currency);
    };
    const between = (low: readonly (number | null)[], high: readonly (number | null)[]) => (i: number): string | null => {
      const [from, to] = [say(low)(i), say(high)(i)];
      return from === null || to === null ? null : words.range(from, to);
    };
    const fan = fanOf({ "0.05": q05, "0.5": q50, "0.95": q95, ...(halves ? { "0.25": q25, "0.75": q75 } : {}) }, "--forecast", (share) => (share === 0.5 ? words.median : share === 0.75 ? words.half : words.nine));
    const reads: Readonly<Record<string, (i: number) => string | null>> = { "q0.5": say(q50), "q0.75": between(q25, q75), "q0.95": between(q05, q95) };
    const drawn = fan.series.map((one): ChartSeries => {
      const read = reads[one.key];
      return read === undefined ? one : { ...one, read };
    });
    const readTime = (index: number): string => {
      const i = Math.floor(index / POINTS_PER_STEP);
      return intervalWords(held.start_ms[i] ?? 0, held.end_ms[i] ?? 0, held.zone);
    };
    return { t: shaped.t, series: [{ key: "actual", label: words.actual, kind: "line", width: 2, color: "--price", values: actual, read: say(actual) }, ...drawn], bands: halves ? BANDS.both : BANDS.wide, readTime };
  }, [held]);
}

function Basis({ held, nowMs }: { held: Prices; nowMs: number }): ReactElement {
  const issued = newest(held.issued_ms);
  const paid = newest(held.actual_known_ms);
  const until = newest(held.end_ms.filter((_, i) => held.q50[i] != null));
  const covered = coveredOf(held);
  return (
    <Panel title={words.basis} hint={words.basisHint} testId="price-basis" state={{ kind: "ready" }}>
      {() => (
        <div className={classes["figures"]}>
          <Figure label={words.forecast} value={issued === null ? words.noForecast : <Age seconds={Math.max(0, (nowMs - issued) / 1000)} staleAfterS={OLD_FORECAST_S} />}>
            {issued === null ? null : <Instant ms={issued} zone={held.zone} />}
          </Figure>
          <Figure label={words.published} value={paid === null ? words.noPublished : <Age seconds={Math.max(0, (nowMs - paid) / 1000)} staleAfterS={OLD_FORECAST_S} />}>
            {paid === null ? null : <Instant ms={paid} zone={held.zone} />}
          </Figure>
          {until === null ? null : (
            <Figure label={words.ahead} value={<Instant ms={until} zone={held.zone} />}>
              {null}
            </Figure>
          )}
          {covered.all === 0 ? null : (
            <Figure label={words.covered} hint={words.coveredHint} value={words.coveredOf(count(covered.inside), count(covered.all))}>
              {strings.exact}
            </Figure>
          )}
        </div>
      )}
    </Panel>
  );
}

function ProductsPanel({ resource, products, state, onBids }: { resource: Resource; products: readonly Product[]; state: PanelState; onBids: (day: string) => void }): ReactElement {
  const said = strings.products;
  const ordered = [...products].sort((a, b) => a.gate_ms - b.gate_ms || a.name.localeCompare(b.name));
  return (
    <Panel title={said.title} hint={said.hint} testId="market-products" state={state} empty={ordered.length === 0 ? said.empty : null}>
      {() => (
        <DataTable
          long
          caption={said.title}
          columns={[{ label: said.product }, { label: said.delivery }, { label: said.gate }, { label: said.left, end: true }, { label: said.bid }, { label: said.rung }]}
          rows={ordered.map((one) => ({
            key: `${one.product_id} ${one.gate_ms} ${one.covers_start_ms}`,
            cells: [
              <PickButton key="product" pressed={false} label={said.show(one.name, deliveryDay(one.delivery_date))} onPick={() => onBids(one.delivery_date)}>
                {one.name}
              </PickButton>,
              <>
                {deliveryDay(one.delivery_date)}
                <Sub>{intervalWords(one.covers_start_ms, one.covers_end_ms, resource.zone)}</Sub>
              </>,
              <>
                <Instant ms={one.gate_ms} zone={resource.zone} />
                <Sub>{strings.gates[one.state]}</Sub>
              </>,
              one.state === "open" ? <Countdown toMs={one.gate_ms} over={said.over} /> : said.over,
              <>
                <BidStanding product={one} />
                {one.revision === null ? null : <Sub>{said.revision(count(one.revision))}</Sub>}
              </>,
              <>
                {one.status === null ? "" : one.author === "" ? codeWords(one.rung === "" ? strings.machine : one.rung) : said.byHand(one.author)}
                {one.rung_reason === "" ? null : <Sub>{one.rung_reason}</Sub>}
              </>,
            ],
          }))}
        />
      )}
    </Panel>
  );
}

export interface PricesTabProps {
  readonly resource: Resource;
  readonly products: readonly Product[];
  readonly productsState: PanelState;
  readonly onBids: (day: string) => void;
}

export function PricesTab({ resource, products, productsState, onBids }: PricesTabProps): ReactElement {
  const query = useApi("/api/market/prices", { query: { point: resource.settlement_point, market: resource.market_id } }, { everyMs: ASK_MS, keep: true });
  const nowMs = useNowMs() ?? query.data?.as_of_ms ?? 0;
  const held = query.data;
  const { t, series, bands, readTime } = useFan(held);
  const gate = nextGate(products);
  const marks: ChartMark[] = [{ atMs: nowMs, label: words.now }];
  if (gate !== null) marks.push({ atMs: gate.gate_ms, label: words.gate });
  const present = held?.start_ms.findLastIndex((start) => start <= nowMs) ?? 0;
  const title = words.title(resource.settlement_point);
  const nothing = (data: Prices): string | null => (data.start_ms.length === 0 ? words.empty : null);
  return (
    <>
      <ChartPanel
        title={title}
        hint={words.hint}
        testId="market-prices"
        state={stateOfQuery(query, nothing)}
        onRetry={() => void query.refetch()}
        chart={{
          title,
          testId: "market-price-chart",
          t,
          series,
          bands,
          marks,
          zone: resource.zone,
          tick: (value) => priceTick(value, resource.currency),
          readTime,
          restIndex: Math.max(present, 0) * POINTS_PER_STEP + 1,
          stride: POINTS_PER_STEP,
          axisWidth: 64,
          height: 280,
          anchorZero: false,
        }}
      />
      {held && held.start_ms.length > 0 ? <Basis held={held} nowMs={nowMs} /> : null}
      <ProductsPanel resource={resource} products={products} state={productsState} onBids={onBids} />
    </>
  );
}
