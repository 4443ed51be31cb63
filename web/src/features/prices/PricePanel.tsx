/** Prices of the chosen resource's settlement point: what was, and the fan of what is expected. */
import { useMemo, type ReactElement } from "react";
import type { PriceSeries } from "../../api/types";
import { POINTS_PER_STEP, asSteps, endsOf } from "../../charts/shape";
import { TimeChart, type ChartMark, type ChartSeries } from "../../charts/TimeChart";
import { price, priceTick } from "../../format/money";
import { dayHour, intervalWords } from "../../format/time";
import { useLivePart } from "../../live/store";
import { strings } from "../../strings";
import { DataTable } from "../../ui/DataTable";
import { Panel } from "../../ui/Panel";

const BANDS = [{ upper: "high", lower: "low", color: "--forecast" }] as const;

const words = strings.price;

interface Input {
  readonly series: PriceSeries;
  readonly zone: string;
  readonly currency: string;
}

function PriceChart({ series: held, zone, currency }: Input): ReactElement {
  const nowMs = useLivePart("now_ms") ?? 0;
  const gate = useLivePart("next_gate");
  const { t, series, readTime } = useMemo(() => {
    const columns = [held.q05, held.q95, held.q50, held.actual].map((values) => ({ kind: "step" as const, values }));
    const ends = endsOf(held.start_ms);
    const shaped = asSteps(held.start_ms, ends, columns);
    const [low = [], high = [], median = [], actual = []] = shaped.columns;
    const read = (values: (number | null)[]) => (i: number) => {
      const value = values[i];
      return value == null ? null : price(value, currency);
    };
    const fan = (i: number): string | null => {
      const [from, to] = [read(low)(i), read(high)(i)];
      return from === null || to === null ? null : strings.figures.range(from, to);
    };
    const made: ChartSeries[] = [
      { key: "actual", label: words.actual, kind: "line", width: 2, color: "--price", values: actual, read: read(actual) },
      { key: "median", label: words.median, kind: "line", dashed: true, width: 1.75, color: "--forecast", values: median, read: read(median) },
      { key: "high", label: words.fan, kind: "edge", color: "--forecast", values: high, read: fan },
      { key: "low", label: words.fan, kind: "edge", color: "--forecast", values: low },
    ];
    const readTime = (index: number): string => {
      const i = Math.floor(index / POINTS_PER_STEP);
      return intervalWords(held.start_ms[i] ?? 0, ends[i] ?? 0, zone);
    };
    return { t: shaped.t, series: made, readTime };
  }, [held, currency, zone]);
  const marks: ChartMark[] = [{ atMs: nowMs, label: words.now }];
  if (gate) marks.push({ atMs: gate.gate_ms, label: words.gate });
  const present = held.start_ms.findLastIndex((start) => start <= nowMs);
  return (
    <TimeChart
      title={words.title(held.settlement_point)}
      testId="price-chart"
      t={t}
      series={series}
      bands={BANDS}
      marks={marks}
      zone={zone}
      tick={(value) => priceTick(value, currency)}
      readTime={readTime}
      restIndex={Math.max(present, 0) * POINTS_PER_STEP + 1}
      stride={POINTS_PER_STEP}
      axisWidth={60}
    />
  );
}

function PriceTable({ series, zone, currency }: Input): ReactElement {
  const cell = (value: number | null | undefined): string => (value == null ? strings.panel.noValue : price(value, currency));
  return (
    <DataTable
      long
      narrow
            caption={words.title(series.settlement_point)}
      columns={[
        { label: words.hour },
        { label: words.actual, end: true },
        { label: words.low, end: true },
        { label: words.median, end: true },
        { label: words.high, end: true },
      ]}
      rows={series.start_ms
        .map((start, i) => ({
          key: String(start),
          cells: [dayHour(start, zone), cell(series.actual[i]), cell(series.q05[i]), cell(series.q50[i]), cell(series.q95[i])],
        }))
        .reverse()}
    />
  );
}

export function PricePanel({ settlementPoint }: { settlementPoint: string | null }): ReactElement {
  const prices = useLivePart("prices") ?? [];
  const zone = useLivePart("zone") ?? "UTC";
  const currency = useLivePart("money")?.currency ?? "USD";
  const series = prices.find((one) => one.settlement_point === settlementPoint);
  const some = series !== undefined && series.start_ms.length > 0;
  return (
    <Panel
      title={settlementPoint === null ? words.titleNone : words.title(settlementPoint)}
      hint={words.hint}
      empty={some ? null : words.empty}
      table={() => (series ? <PriceTable series={series} zone={zone} currency={currency} /> : null)}
    >
      {() => (series ? <PriceChart key={series.settlement_point} series={series} zone={zone} currency={currency} /> : null)}
    </Panel>
  );
}
