/** Battery, solar and load over the last day: up gives power, down takes it, silence is a gap, doubt is a band. */
import { useMemo, type ReactElement } from "react";
import type { FleetSeries } from "../../api/types";
import { withGaps, thin } from "../../charts/shape";
import { TimeChart, type ChartSeries } from "../../charts/TimeChart";
import { count } from "../../format/number";
import { batteryPhrase, batteryRange, outward, powerSize, powerTick } from "../../format/power";
import { dayHour } from "../../format/time";
import { useLivePart } from "../../live/store";
import { strings } from "../../strings";
import { DataTable } from "../../ui/DataTable";
import { Panel } from "../../ui/Panel";

const BANDS = [{ upper: "upper", lower: "lower", color: "--battery" }] as const;

const words = strings.power;
const TABLE_ROWS = 96;
const LEAST_GAP_MS = 5_000;

function rangeWords(low: number | null | undefined, high: number | null | undefined): string | null {
  if (low == null || high == null) return null;
  return strings.figures.range(...batteryRange(low, high));
}

function PowerChart({ held, zone }: { held: FleetSeries; zone: string }): ReactElement {
  const { t, series } = useMemo(() => {
    const shaped = withGaps(held.t_ms, [held.low_kw, held.high_kw, held.expected_kw, held.solar_kw, held.load_kw], 3, LEAST_GAP_MS);
    const [low = [], high = [], battery = [], solar = [], load = []] = shaped.columns;
    const read = (values: (number | null)[], say: (kw: number) => string) => (i: number) => {
      const value = values[i];
      return value == null ? null : say(value);
    };
    const made: ChartSeries[] = [
      { key: "battery", label: words.battery, kind: "line", color: "--battery", width: 2.5, values: battery.map(outward), read: read(battery, batteryPhrase) },
      { key: "upper", label: words.range, kind: "edge", color: "--battery", values: low.map(outward), read: (i) => rangeWords(low[i], high[i]) },
      { key: "lower", label: words.range, kind: "edge", color: "--battery", values: high.map(outward) },
      { key: "solar", label: words.solar, kind: "line", color: "--solar", width: 1.5, values: solar.map(outward), read: read(solar, powerSize) },
      { key: "load", label: words.load, kind: "line", color: "--load", width: 1.5, values: load.map(outward), read: read(load, powerSize) },
    ];
    return { t: shaped.t, series: made };
  }, [held]);
  return (
    <TimeChart
      title={words.title}
      testId="power-chart"
      t={t}
      series={series}
      bands={BANDS}
      zone={zone}
      tick={powerTick}
      restIndex={t.length - 1}
      stride={Math.max(1, Math.round(t.length / 96))}
      axisWidth={84}
    />
  );
}

function PowerTable({ held, zone }: { held: FleetSeries; zone: string }): ReactElement {
  const shown = thin(held.t_ms.length, TABLE_ROWS);
  const value = (column: (number | null)[], i: number, say: (kw: number) => string): string => {
    const one = column[i];
    return one == null ? strings.panel.noValue : say(one);
  };
  return (
    <DataTable
      long
      narrow
      caption={`${words.title}: ${strings.panel.thinned(count(shown.length), count(held.t_ms.length))}`}
      columns={[{ label: words.time }, { label: words.battery }, { label: words.range }, { label: words.reported }, { label: words.solar, end: true }, { label: words.load, end: true }]}
      rows={shown.map((i) => ({
        key: String(held.t_ms[i]),
        cells: [
          dayHour(held.t_ms[i] ?? 0, zone),
          value(held.expected_kw, i, batteryPhrase),
          rangeWords(held.low_kw[i], held.high_kw[i]) ?? strings.panel.noValue,
          value(held.battery_kw, i, batteryPhrase),
          value(held.solar_kw, i, powerSize),
          value(held.load_kw, i, powerSize),
        ],
      }))}
    />
  );
}

export function PowerPanel(): ReactElement {
  const held = useLivePart("fleet_series");
  const zone = useLivePart("zone") ?? "UTC";
  const some = held !== null && held.t_ms.length > 1;
  return (
    <Panel
      title={words.title}
      hint={words.hint}
      empty={some ? null : words.empty}
      table={() => (held ? <PowerTable held={held} zone={zone} /> : null)}
    >
      {() => (held ? <PowerChart held={held} zone={zone} /> : null)}
    </Panel>
  );
}
