/** The rolling day of fleet history: points are appended in order of time, old ones thin out and fall off in the end. */
import type { FleetSeries, Nullable } from "../api/types";

export const SERIES_WINDOW_MS = 24 * 3_600_000;
export const SERIES_MAX_POINTS = 6_000;

type Column = Exclude<keyof FleetSeries, "t_ms">;
const COLUMNS: readonly Column[] = ["battery_kw", "expected_kw", "low_kw", "high_kw", "solar_kw", "load_kw", "soc_frac", "coverage_kw_frac"];

function made(tMs: number[], column: (name: Column) => Nullable[]): FleetSeries {
  const columns = Object.fromEntries(COLUMNS.map((name) => [name, column(name)])) as Record<Column, Nullable[]>;
  return { t_ms: tMs, ...columns };
}

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
  const joined = made(held.t_ms.concat(added.t_ms.slice(first)), (name) => join(held[name], added[name] ?? []));
  return trimSeries(joined, windowMs, maxPoints);
}

/** Return the series without what is older than the window, thinned when it is too long; the same object when it is neither. */
export function trimSeries(
  held: FleetSeries,
  windowMs: number = SERIES_WINDOW_MS,
  maxPoints: number = SERIES_MAX_POINTS,
): FleetSeries {
  const { t_ms } = held;
  const oldest = (t_ms.at(-1) ?? 0) - windowMs;
  const from = Math.max(t_ms.findIndex((t) => t >= oldest), 0);
  const kept = t_ms.length - from <= maxPoints ? null : thinned(t_ms, from, windowMs, maxPoints);
  if (kept === null) return from === 0 ? held : made(t_ms.slice(from), (name) => held[name].slice(from));
  const pick = <T>(values: readonly T[]): T[] => kept.map((i) => values[i] as T);
  return made(pick(t_ms), (name) => pick(held[name]));
}

/** Choose the latest fifth of what may be kept as it is, and of what lies before as many as make up half of it. */
function thinned(tMs: readonly number[], from: number, windowMs: number, maxPoints: number): number[] {
  const recent = tMs.length - Math.floor(maxPoints / 5);
  const spacing = (2 * windowMs) / maxPoints;
  const kept: number[] = [];
  let last = Number.NEGATIVE_INFINITY;
  for (let i = from; i < tMs.length; i += 1) {
    const at = tMs[i] ?? 0;
    if (i < recent && at - last < spacing) continue;
    kept.push(i);
    last = at;
  }
  return kept;
}
