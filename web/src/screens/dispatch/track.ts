/** Commanded against measured as one run of points: what the plant kept, and from there on what it says each second. Pure. */
import type { Nullable } from "../../api/types";
import type { OrderNow, OrderSeries } from "./records";

export interface Point {
  readonly t: number;
  readonly commanded: Nullable;
  readonly measured: Nullable;
  readonly low: Nullable;
  readonly high: Nullable;
}

/** As many as are kept of what was said since the last answer of the plant. */
export const MOST_POINTS = 3_600;

export function pointOf(now: OrderNow): Point {
  return { t: now.t_ms, commanded: now.commanded_kw, measured: now.measured_kw, low: now.measured_kw === null ? null : now.low_kw, high: now.measured_kw === null ? null : now.high_kw };
}

/** The points with one more, if it is newer than all of them. */
export function extended(points: readonly Point[], now: OrderNow): readonly Point[] {
  const last = points.at(-1);
  if (last && now.t_ms <= last.t) return points;
  return [...points.slice(-(MOST_POINTS - 1)), pointOf(now)];
}

/** The whole run: the kept points, then those that are newer. */
export function joined(series: OrderSeries | undefined, live: readonly Point[]): Point[] {
  const kept: Point[] = [];
  series?.t_ms.forEach((t, i) => {
    // nothing was heard in between: no line belongs there
    if (series.gap[i] && i > 0) kept.push({ t: t - 1, commanded: series.commanded_kw[i] ?? null, measured: null, low: null, high: null });
    kept.push({ t, commanded: series.commanded_kw[i] ?? null, measured: series.measured_kw[i] ?? null, low: series.low_kw[i] ?? null, high: series.high_kw[i] ?? null });
  });
  const seam = kept.at(-1)?.t ?? Number.NEGATIVE_INFINITY;
  return [...kept, ...live.filter((one) => one.t > seam)];
}
