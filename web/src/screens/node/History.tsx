/** The group over time, from its history into the present in one line, with the range of every point. */
import { useEffect, useMemo, useState, type ReactElement } from "react";
import { useApi } from "../../api/queries";
import type { Nullable } from "../../api/types";
import { ChartPanel } from "../../charts/ChartPanel";
import type { Band, ChartSeries, TimeChartProps } from "../../charts/TimeChart";
import { percent } from "../../format/number";
import { IDLE_KW, batteryPhrase, batteryRange, gridPhrase, outward, powerTick } from "../../format/power";
import { duration, dayHour } from "../../format/time";
import { useFeed } from "../../live/store";
import { strings as shared } from "../../strings";
import { Button } from "../../ui/Button";
import { useZone } from "../../ui/Instant";
import { LOADING, stateOfQuery, type PanelState } from "../../ui/panelState";
import { useSpan } from "../site/useSpan";
import { WINDOWS, drawn, withPoint, type GroupPoint, type Hours } from "./history";
import classes from "./node.module.css";
import { strings } from "./strings";

const words = strings.history;
const POINTS = 700;
const BANDS: readonly Band[] = [{ upper: "high", lower: "low", color: "--battery" }];

/** What a live feed said, one point behind the other. */
function useTail(groupId: string): readonly GroupPoint[] {
  const { value } = useFeed<GroupPoint>(`group/${groupId}`);
  const [held, setHeld] = useState<readonly GroupPoint[]>([]);
  useEffect(() => {
    if (value !== null) setHeld((before) => withPoint(before, value));
  }, [value]);
  return held;
}

const reader =
  (values: readonly Nullable[], say: (value: number) => string) =>
  (index: number): string | null => {
    const value = values[index];
    return value == null ? null : say(value);
  };

export function History({ groupId, hours, onHours }: { groupId: string; hours: Hours; onHours: (hours: Hours) => void }): ReactElement {
  const zone = useZone();
  const span = useSpan(Number(hours));
  const query = useApi("/api/groups/{group_id}/history", { path: { group_id: groupId }, query: { ...(span ?? { from_ms: 0, to_ms: 1 }), points: POINTS } }, { enabled: span !== null, keep: true });
  const history = query.data;
  const tail = useTail(groupId);
  const { t, series, source } = useMemo(() => {
    if (!history) return { t: [], series: [], source: [] };
    const { t: at, columns, source: from } = drawn(history, tail);
    const { battery_kw: battery, low_kw: low, high_kw: high, grid_kw: grid, soc_frac: soc, coverage_kw_frac: coverage } = columns;
    const range = (index: number): string | null => {
      const [a, b] = [low[index], high[index]];
      if (a == null || b == null) return null;
      return b - a < IDLE_KW ? words.exact : shared.figures.range(...batteryRange(a, b));
    };
    const nothing: Nullable[] = at.map(() => null);
    const lines: ChartSeries[] = [
      // up gives power: what is lowest inside is highest here
      { key: "high", label: words.range, color: "--battery", kind: "edge", values: low.map(outward), read: range },
      { key: "low", label: words.range, color: "--battery", kind: "edge", values: high.map(outward) },
      { key: "battery", label: words.battery, color: "--battery", kind: "line", width: 2, values: battery.map(outward), read: reader(battery, batteryPhrase) },
      { key: "grid", label: words.grid, color: "--import", kind: "line", width: 1.5, values: grid.map(outward), read: reader(grid, gridPhrase) },
      { key: "soc", label: words.soc, color: "--load", kind: "edge", values: nothing, read: reader(soc, (frac) => percent(frac)) },
      { key: "coverage", label: words.coverage, color: "--load", kind: "edge", values: nothing, read: reader(coverage, (frac) => percent(frac, 1)) },
      { key: "source", label: words.source, color: "--load", kind: "edge", values: nothing, read: (index) => (from[index] ? words.sources[from[index]] : null) },
    ];
    return { t: at, series: lines, source: from };
  }, [history, tail]);
  let state: PanelState = span === null ? LOADING : stateOfQuery(query, () => (t.length === 0 ? words.empty : null));
  const gaps = source.filter((one) => one === null).length;
  if (state.kind === "ready" && gaps > 0) state = { kind: "partial", words: words.gaps(gaps, duration(history?.gap_after_s ?? 0)) };
  const chart: TimeChartProps = {
    title: words.title, testId: "node-history", t, series, bands: BANDS, zone, tick: powerTick, restIndex: t.length - 1,
    stride: Math.max(1, Math.round(t.length / 96)), axisWidth: 84,
  };
  const choice = (
    <div className={classes["windows"]} role="group" aria-label={words.windows}>
      {WINDOWS.map((one) => (
        <Button key={one} pressed={one === hours} onClick={() => onHours(one)}>
          {words.window[one]}
        </Button>
      ))}
    </div>
  );
  const seam = history?.seam_ms == null ? words.noPast : words.seam(dayHour(history.seam_ms, zone));
  return <ChartPanel title={words.title} hint={`${words.hint} ${seam}`} testId="history" state={state} chart={chart} actions={choice} onRetry={() => void query.refetch()} />;
}
