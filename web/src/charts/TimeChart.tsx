/**
 * One chart over time for all panels: uPlot on a canvas, with a readout in text that mouse, touch and arrow keys move.
 *
 * The plot is made anew only when its make-up changes (series, colours, zone); new values are set in place.
 */
import { useEffect, useRef, useState, type KeyboardEvent, type ReactElement } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Nullable } from "../api/types";
import { dayHour, timeTick } from "../format/time";
import { strings } from "../strings";
import { useDark } from "../app/theme";
import { tokenValue, type Token } from "../ui/tokens";
import classes from "./TimeChart.module.css";

export interface ChartSeries {
  readonly key: string;
  readonly label: string;
  readonly color: Token;
  /** "line" strokes, "area" fills to zero as well, "edge" only bounds a band. */
  readonly kind: "line" | "area" | "edge";
  readonly dashed?: boolean;
  readonly width?: number;
  readonly values: Nullable[];
  /** The readout, in words and units. Left out: not in the legend. */
  readonly read?: (index: number) => string | null;
}

/** What lies between two series, filled. Several of them make a fan. */
export interface Band {
  readonly upper: string;
  readonly lower: string;
  readonly color: Token;
  /** From 0 to 1; 0.2 when left out. */
  readonly strength?: number;
}

/** A stretch of time with a word, such as an event. */
export interface ChartSpan {
  readonly fromMs: number;
  readonly toMs: number;
  readonly label: string;
  readonly color: Token;
}

export interface ChartMark {
  readonly atMs: number;
  readonly label: string;
}

export interface TimeChartProps {
  readonly title: string;
  readonly testId: string;
  readonly t: number[];
  readonly series: readonly ChartSeries[];
  readonly bands?: readonly Band[];
  readonly spans?: readonly ChartSpan[];
  readonly marks?: readonly ChartMark[];
  readonly zone: string;
  readonly tick: (value: number, span: number) => string;
  readonly height?: number;
  readonly axisWidth?: number;
  /** The index that is read out while nobody points at the chart. */
  readonly restIndex: number;
  /** How the time of an index is said; day and hour when left out. */
  readonly readTime?: (index: number) => string;
  /** How far an arrow key moves. */
  readonly stride?: number;
  /** Whether nothing is always in view, as it must be for power; true when left out. Prices and scores need not. */
  readonly anchorZero?: boolean;
}

/** A colour of `#rrggbb` with so much of it, from 0 to 1. */
export function faded(color: string, strength: number): string {
  const alpha = Math.round(Math.min(Math.max(strength, 0), 1) * 255);
  return `${color}${alpha.toString(16).padStart(2, "0")}`;
}

/** The range of the value axis: a little room beyond the values, and zero where it is to be in view. */
export function valueRange(low: number | null, high: number | null, anchorZero: boolean): [number, number] {
  if (!anchorZero && low !== null && high !== null) {
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    return [low - room, high + room];
  }
  const [from, to] = [Math.min(low ?? 0, 0), Math.max(high ?? 0, 0)];
  const room = (to - from || 1) * 0.06;
  return [from < 0 ? from - room : 0, to > 0 ? to + room : from < 0 ? 0 : 1];
}

function optionsFor(
  props: TimeChartProps,
  latest: { readonly current: TimeChartProps },
  width: number,
  onIndex: (index: number | null) => void,
): uPlot.Options {
  const ink = tokenValue("--ink-dim");
  const grid = { stroke: tokenValue("--grid"), width: 1 };
  const axis = { stroke: ink, grid, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const indexOf = (key: string): number => props.series.findIndex((one) => one.key === key) + 1;
  return {
    width,
    height: props.height ?? 240,
    ms: 1,
    tzDate: (at) => uPlot.tzDate(new Date(at), props.zone),
    legend: { show: false },
    padding: [16, 22, 0, 0],
    cursor: { drag: { x: false, y: false }, y: false, points: { size: 7 } },
    scales: {
      y: {
        range: (_, low, high) => valueRange(low, high, props.anchorZero ?? true),
      },
    },
    axes: [
      { ...axis, size: 28, space: 64, values: (_, at) => at.map((ms) => timeTick(ms, props.zone)) },
      {
        ...axis,
        size: props.axisWidth ?? 72,
        space: 36,
        values: (plot, at) => {
          const scale = plot.scales["y"];
          const span = (scale?.max ?? 1) - (scale?.min ?? 0);
          return at.map((value) => latest.current.tick(value, span));
        },
      },
    ],
    series: [
      {},
      ...props.series.map((one): uPlot.Series => {
        const color = tokenValue(one.color);
        return {
          label: one.label,
          stroke: one.kind === "edge" ? "transparent" : color,
          width: one.kind === "edge" ? 0 : (one.width ?? 2),
          ...(one.kind === "area" ? { fill: `${color}55` } : {}),
          ...(one.dashed ? { dash: [5, 4] } : {}),
          points: { show: false },
          spanGaps: false,
        };
      }),
    ],
    bands: (props.bands ?? []).map((band) => ({
      series: [indexOf(band.upper), indexOf(band.lower)],
      fill: faded(tokenValue(band.color), band.strength ?? 0.2),
    })),
    hooks: {
      setCursor: [(plot) => onIndex(plot.cursor.idx ?? null)],
      drawClear: [(plot) => drawSpans(plot, latest.current.spans ?? [], ink)],
      draw: [(plot) => drawMarks(plot, latest.current.marks ?? [], ink)],
    },
  };
}

/** Stretches of time behind everything else, each with its word. */
function drawSpans(plot: uPlot, spans: readonly ChartSpan[], ink: string): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textBaseline = "top";
  for (const { fromMs, toMs, label, color } of spans) {
    const left = Math.max(plot.valToPos(fromMs, "x", true), bbox.left);
    const right = Math.min(plot.valToPos(toMs, "x", true), bbox.left + bbox.width);
    if (!(right > left)) continue;
    ctx.fillStyle = faded(tokenValue(color), 0.13);
    ctx.fillRect(left, bbox.top, right - left, bbox.height);
    ctx.fillStyle = ink;
    ctx.fillText(label, left + 4 * devicePixelRatio, bbox.top + 3 * devicePixelRatio, right - left);
  }
  ctx.restore();
}

/** The zero line, and instants such as now and the gate as dashed lines with a word. */
function drawMarks(plot: uPlot, marks: readonly ChartMark[], ink: string): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = ink;
  ctx.fillStyle = ink;
  ctx.lineWidth = devicePixelRatio;
  const zero = Math.round(plot.valToPos(0, "y", true)) + 0.5;
  if (zero >= bbox.top && zero <= bbox.top + bbox.height) {
    ctx.beginPath();
    ctx.moveTo(bbox.left, zero);
    ctx.lineTo(bbox.left + bbox.width, zero);
    ctx.stroke();
  }
  ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textBaseline = "bottom";
  ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
  let taken = Number.NEGATIVE_INFINITY;
  for (const { atMs, label } of [...marks].sort((a, b) => a.atMs - b.atMs)) {
    const x = plot.valToPos(atMs, "x", true);
    if (!(x >= bbox.left && x <= bbox.left + bbox.width)) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const half = ctx.measureText(label).width / 2;
    const left = Math.max(x - half, taken + 6 * devicePixelRatio);
    ctx.fillText(label, left, bbox.top - devicePixelRatio);
    taken = left + 2 * half;
  }
  ctx.restore();
}

export function TimeChart(props: TimeChartProps): ReactElement {
  const { title, testId, t, series, zone, restIndex } = props;
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const dark = useDark();
  const [pointed, setPointed] = useState<number | null>(null);
  const bandsKey = (props.bands ?? []).map((band) => `${band.upper}${band.lower}`).join();
  const makeUp = `${series.map((one) => `${one.key}${one.kind}${one.color}`).join()}|${bandsKey}|${zone}|${dark}|${props.height ?? 0}`;

  useEffect(() => {
    const element = holder.current;
    if (!element) return;
    const made = new uPlot(
      optionsFor(latest.current, latest, Math.max(element.clientWidth, 120), setPointed),
      [latest.current.t, ...latest.current.series.map((one) => one.values)],
      element,
    );
    plot.current = made;
    const watcher = new ResizeObserver(() => {
      const width = Math.max(element.clientWidth, 120);
      if (width !== made.width) made.setSize({ width, height: made.height });
    });
    watcher.observe(element);
    return () => {
      watcher.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [makeUp]);

  useEffect(() => {
    plot.current?.setData([t, ...series.map((one) => one.values)]);
  }, [t, series]);

  const instants = [...(props.marks ?? []).map((mark) => mark.atMs), ...(props.spans ?? []).flatMap((span) => [span.fromMs, span.toMs])].join();
  useEffect(() => plot.current?.redraw(false, false), [instants]);

  const index = Math.min(pointed ?? restIndex, t.length - 1);
  const at = t[index];

  const onKeyDown = (event: KeyboardEvent<HTMLDivElement>): void => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by === undefined && event.key !== "Escape") return;
    event.preventDefault();
    if (by === undefined) return setPointed(null);
    setPointed(Math.min(Math.max(index + by * (props.stride ?? 1), 0), t.length - 1));
  };

  return (
    <div data-testid={testId}>
      <div
        ref={holder}
        className={classes["canvas"]}
        role="group"
        tabIndex={0}
        aria-label={strings.panel.reading(title)}
        onKeyDown={onKeyDown}
        onBlur={() => setPointed(null)}
      />
      <dl className={classes["legend"]} aria-live={pointed === null ? "off" : "polite"}>
        <div>
          <dt>{strings.power.time}</dt>
          <dd>{at === undefined ? strings.panel.noValue : (props.readTime?.(index) ?? dayHour(at, zone))}</dd>
        </div>
        {series
          .filter((one) => one.read)
          .map((one) => (
            <div key={one.key}>
              <dt>
                <span className={classes["swatch"]} data-kind={one.kind} data-dashed={one.dashed ?? false} style={{ color: `var(${one.color})` }} />
                {one.label}
              </dt>
              <dd>{one.read?.(index) ?? strings.panel.noValue}</dd>
            </div>
          ))}
      </dl>
    </div>
  );
}
