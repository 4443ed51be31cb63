/** The rolling day of fleet history: points are appended in order of time, and old ones fall off both by age and by count. */
import type { FleetSeries, Nullable } from "../api/types";

export const SERIES_WINDOW_MS = 24 * 3_600_000;
export const SERIES_MAX_POINTS = 20_000;

/**
 * Return the series with `added` at its end.
 *
 * A point that is not later than the last one held is dropped (a repeated delta must not draw twice). What lies
 * before the window that ends with the newest point is let go, and never more than `maxPoints` are kept.
 */
export function appendSeries(
  held: FleetSeries,
  added: FleetSeries,
  windowMs: number = SERIES_WINDOW_MS,
  maxPoints: number = SERIES_MAX_POINTS,
): FleetSeries {
  const last = held.t_ms.at(-1) ?? Number.NEGATIVE_INFINITY;
  const first = added.t_ms.findIndex((t) => t > last);
  if (first < 0) return trimSeries(held, windowMs, maxPoints);
  const fresh = added.t_ms.length - first;
  const join = (a: Nullable[], b: Nullable[]): Nullable[] => {
    // A column that is short of points is filled with gaps, so that the columns never slip against each other.
    const tail = b.slice(first, first + fresh);
    while (tail.length < fresh) tail.push(null);
    return a.concat(tail);
  };
  return trimSeries(
    {
      t_ms: held.t_ms.concat(added.t_ms.slice(first)),
      battery_kw: join(held.battery_kw, added.battery_kw ?? []),
      low_kw: join(held.low_kw, added.low_kw ?? []),
      high_kw: join(held.high_kw, added.high_kw ?? []),
      solar_kw: join(held.solar_kw, added.solar_kw ?? []),
      load_kw: join(held.load_kw, added.load_kw ?? []),
      soc_frac: join(held.soc_frac, added.soc_frac ?? []),
      coverage_kw_frac: join(held.coverage_kw_frac, added.coverage_kw_frac ?? []),
    },
    windowMs,
    maxPoints,
  );
}

/** Return the series without what is older than the window or beyond the count; the same object when nothing is. */
export function trimSeries(
  held: FleetSeries,
  windowMs: number = SERIES_WINDOW_MS,
  maxPoints: number = SERIES_MAX_POINTS,
): FleetSeries {
  const { t_ms } = held;
  const oldest = (t_ms.at(-1) ?? 0) - windowMs;
  const byAge = t_ms.findIndex((t) => t >= oldest);
  const from = Math.max(byAge, t_ms.length - maxPoints, 0);
  if (from === 0) return held;
  return {
    t_ms: t_ms.slice(from),
    battery_kw: held.battery_kw.slice(from),
    low_kw: held.low_kw.slice(from),
    high_kw: held.high_kw.slice(from),
    solar_kw: held.solar_kw.slice(from),
    load_kw: held.load_kw.slice(from),
    soc_frac: held.soc_frac.slice(from),
    coverage_kw_frac: held.coverage_kw_frac.slice(from),
  };
}
