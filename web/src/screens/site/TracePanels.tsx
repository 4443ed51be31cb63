/** The site's history up to now with its silences marked, its charge, and what was asked against what it did. */
import { useMemo, type ReactElement } from "react";
import { useApi } from "../../api/queries";
import type { Nullable } from "../../api/types";
import { ChartPanel, ChartTable } from "../../charts/ChartPanel";
import { TimeChart, type ChartSeries, type TimeChartProps } from "../../charts/TimeChart";
import { count, percent } from "../../format/number";
import { batteryPhrase, gridPhrase, outward, powerSize, powerTick } from "../../format/power";
import { duration } from "../../format/time";
import { DataTable } from "../../ui/DataTable";
import { Interval, useZone } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { LOADING, stateOfQuery, type PanelState } from "../../ui/panelState";
import type { Token } from "../../ui/tokens";
import classes from "./Screen.module.css";
import { askWords, drawn, drawnCommands, spansOf, type Moment, type SiteCommands, type SiteHistory, type SiteSilence } from "./site";
import { strings } from "./strings";
import type { Span } from "./useSpan";

const POINTS = 700;
const AXIS_PX = 84;

function readOf(values: readonly Nullable[], say: (value: number) => string): (index: number) => string | null {
  return (index) => {
    const value = values[index];
    return value == null ? null : say(value);
  };
}

function silenceWords(silences: readonly SiteSilence[]): string | null {
  if (silences.length === 0) return null;
  const totalS = silences.reduce((sum, one) => sum + (one.to_ms - one.from_ms) / 1000, 0);
  return strings.telemetry.silences(count(silences.length), duration(totalS));
}

/** How a panel of a track stands: silence makes it not complete, and says for how long. */
export function stateOfTrack(state: PanelState, silences: readonly SiteSilence[]): PanelState {
  const words = silenceWords(silences);
  return state.kind === "ready" && words !== null ? { kind: "partial", words } : state;
}

interface Line {
  readonly key: string;
  readonly label: string;
  readonly color: Token;
  readonly say: (kw: number) => string;
  readonly width: number;
}

const LINES: readonly Line[] = [
  { key: "battery", label: strings.telemetry.battery, color: "--battery", say: batteryPhrase, width: 2.5 },
  { key: "solar", label: strings.telemetry.solar, color: "--solar", say: powerSize, width: 1.5 },
  { key: "load", label: strings.telemetry.load, color: "--load", say: powerSize, width: 1.5 },
  { key: "ev", label: strings.telemetry.ev, color: "--forecast", say: powerSize, width: 1.5 },
  { key: "grid", label: strings.telemetry.grid, color: "--import", say: gridPhrase, width: 1.5 },
];
const SOC = 5;

function sourceWords(history: SiteHistory): string {
  return strings.telemetry.source(strings.telemetry.tier[history.tier] ?? history.tier, duration(history.step_s), count(history.suspect_samples));
}

export function TelemetryPanels({ siteId, span, live }: { siteId: string; span: Span | null; live: readonly Moment[] }): ReactElement {
  const zone = useZone();
  const query = useApi("/api/sites/{site_id}/history", { path: { site_id: siteId }, query: { ...(span ?? { from_ms: 0, to_ms: 1 }), points: POINTS } }, { enabled: span !== null, keep: true });
  const history = query.data;
  const { t, power, charge } = useMemo(() => {
    if (!history) return { t: [], power: [], charge: [] };
    const { t: at, columns } = drawn(history, live);
    const lines = LINES.flatMap((line, c): ChartSeries[] => {
      const values = columns[c] ?? [];
      if (values.every((value) => value === null)) return [];
      return [{ key: line.key, label: line.label, color: line.color, kind: "line", width: line.width, values: values.map(outward), read: readOf(values, line.say) }];
    });
    const soc = columns[SOC] ?? [];
    const one: ChartSeries = { key: "soc", label: strings.charge.label, color: "--battery", kind: "area", values: [...soc], read: readOf(soc, (frac) => percent(frac)) };
    return { t: at, power: lines, charge: soc.every((value) => value === null) ? [] : [one] };
  }, [history, live]);
  const silences = history?.silences ?? [];
  const asked = span === null ? LOADING : stateOfQuery(query);
  const state = (some: boolean, empty: string): PanelState => (asked.kind === "ready" && !some ? { kind: "empty", words: empty } : stateOfTrack(asked, silences));
  const base = { t, zone, spans: spansOf(silences), restIndex: t.length - 1, stride: Math.max(1, Math.round(t.length / 96)), axisWidth: AXIS_PX };
  const retry = { onRetry: () => void query.refetch() };
  const chart: TimeChartProps = { ...base, title: strings.telemetry.title, testId: "site-power", series: power, tick: powerTick };
  const soc: TimeChartProps = { ...base, title: strings.charge.title, testId: "site-charge", series: charge, tick: (value) => percent(value), height: 180 };
  return (
    <>
      <ChartPanel
        title={strings.telemetry.title}
        hint={history ? `${strings.telemetry.hint} ${sourceWords(history)}.` : strings.telemetry.hint}
        state={state(power.length > 0, strings.telemetry.empty)}
        chart={chart}
        testId="site-telemetry"
        {...retry}
      />
      <ChartPanel title={strings.charge.title} hint={strings.charge.hint} state={state(charge.length > 0, strings.charge.empty)} chart={soc} {...retry} />
    </>
  );
}

function ResponseTable({ commands }: { commands: SiteCommands }): ReactElement {
  const { order } = strings;
  return (
    <DataTable
      caption={strings.commands.caption}
      columns={[{ label: order.order }, { label: order.what }, { label: order.span }, { label: order.measured }, { label: order.heard }, { label: order.followed }]}
      rows={commands.orders.map(({ order: one, measured_kw, heard_frac, followed_frac }) => ({
        key: one.order_id,
        cells: [
          <div key="order">
            {one.order_id}
            <div className={classes["dim"]}>{[one.program, one.by, order.state[one.state] ?? one.state, one.reason === "" ? "" : order.reason(one.reason)].filter(Boolean).join(" · ")}</div>
          </div>,
          askWords(one),
          <Interval key="span" startMs={one.from_ms} endMs={one.until_ms} />,
          measured_kw === null ? order.nothingHeard : order.mean(batteryPhrase(measured_kw)),
          order.share(percent(heard_frac)),
          followed_frac === null ? order.unknown : order.sampleShare(percent(followed_frac)),
        ],
      }))}
    />
  );
}

export function CommandsPanel({ siteId, span }: { siteId: string; span: Span | null }): ReactElement {
  const zone = useZone();
  const query = useApi("/api/sites/{site_id}/commands", { path: { site_id: siteId }, query: { ...(span ?? { from_ms: 0, to_ms: 1 }), points: POINTS } }, { enabled: span !== null, keep: true });
  const commands = query.data;
  const chart = useMemo((): TimeChartProps | null => {
    if (!commands) return null;
    const { t, commanded, measured } = drawnCommands(commands);
    const series: ChartSeries[] = [
      { key: "measured", label: strings.commands.measured, color: "--battery", kind: "line", width: 2, values: measured.map(outward), read: readOf(measured, batteryPhrase) },
      { key: "commanded", label: strings.commands.commanded, color: "--plan", kind: "line", dashed: true, width: 2, values: commanded.map(outward), read: readOf(commanded, batteryPhrase) },
    ];
    const spans = commands.orders.slice(0, 12).map(({ order }) => ({ fromMs: order.from_ms, toMs: order.until_ms, label: order.order_id, color: "--plan" as const }));
    return { title: strings.commands.chartCaption, testId: "site-commands-chart", t, series, spans, zone, tick: powerTick, restIndex: t.length - 1, stride: Math.max(1, Math.round(t.length / 96)), axisWidth: AXIS_PX };
  }, [commands, zone]);
  const state = span === null ? LOADING : stateOfQuery(query, (data) => (data.orders.length === 0 ? strings.commands.empty : null));
  return (
    <Panel
      title={strings.commands.title}
      hint={strings.commands.hint}
      state={state}
      onRetry={() => void query.refetch()}
      testId="site-commands"
      table={() => (chart === null ? null : <ChartTable chart={chart} />)}
    >
      {() =>
        chart === null || !commands ? null : (
          <>
            {chart.t.length > 0 ? <TimeChart {...chart} /> : null}
            <ResponseTable commands={commands} />
          </>
        )
      }
    </Panel>
  );
}

