/** A panel with one chart; its table is made of the chart's own series, so that both always say the same. */
import type { ReactElement } from "react";
import { count } from "../format/number";
import { dayHour } from "../format/time";
import { strings } from "../strings";
import { DataTable } from "../ui/DataTable";
import { Panel, type PanelProps } from "../ui/Panel";
import { thin } from "./shape";
import { TimeChart, type TimeChartProps } from "./TimeChart";

const TABLE_ROWS = 96;

/** The readouts of a chart as a table, latest first. */
export function ChartTable({ chart }: { chart: TimeChartProps }): ReactElement {
  const told = chart.series.filter((one) => one.read);
  const shown = thin(chart.t.length, TABLE_ROWS);
  return (
    <DataTable
      long
      narrow
      caption={`${chart.title}: ${strings.panel.thinned(count(shown.length), count(chart.t.length))}`}
      columns={[{ label: strings.power.time }, ...told.map((one) => ({ label: one.label, end: true }))]}
      rows={shown.map((i) => ({
        key: `${i} ${chart.t[i]}`,
        cells: [chart.readTime?.(i) ?? dayHour(chart.t[i] ?? 0, chart.zone), ...told.map((one) => one.read?.(i) ?? strings.panel.noValue)],
      }))}
    />
  );
}

export function ChartPanel({ chart, ...panel }: Omit<PanelProps, "children" | "table"> & { chart: TimeChartProps }): ReactElement {
  return (
    <Panel {...panel} table={() => <ChartTable chart={chart} />}>
      {() => <TimeChart {...chart} />}
    </Panel>
  );
}
