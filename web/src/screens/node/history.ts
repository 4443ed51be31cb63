/** A group from history to live as columns to draw: one row of nulls wherever nothing was, and no point twice. Pure. */
import type { Schema } from "../../api/client";
import type { Nullable } from "../../api/types";

export type GroupHistory = Schema["GroupHistory"];
export type GroupPoint = Schema["GroupPoint"];
export type Source = GroupHistory["source"][number];

export const WINDOWS = ["3", "6", "24", "168", "720"] as const;
export type Hours = (typeof WINDOWS)[number];
const MOST_LIVE = 1_800;

/** The window that an address names; six hours when it names none. */
export function hoursOf(text: string | undefined): Hours {
  return WINDOWS.find((one) => one === text) ?? "6";
}

/** Put a newer point behind those held. */
export function withPoint(held: readonly GroupPoint[], one: GroupPoint): readonly GroupPoint[] {
  const last = held[held.length - 1];
  if (last && one.t_ms === last.t_ms) return held;
  // Time went back: another run began, and what is held is of the former one.
  if (last && one.t_ms < last.t_ms) return [one];
  return [...held.slice(1 - MOST_LIVE), one];
}

const COLUMNS = ["battery_kw", "low_kw", "high_kw", "grid_kw", "soc_frac", "coverage_kw_frac"] as const;
export type Column = (typeof COLUMNS)[number];

export interface Drawn {
  readonly t: number[];
  readonly columns: Readonly<Record<Column, Nullable[]>>;
  readonly source: (Source | null)[];
}

/** History and the points that came since. */
export function drawn(history: GroupHistory, live: readonly GroupPoint[]): Drawn {
  const t: number[] = [];
  const source: (Source | null)[] = [];
  const columns: Record<Column, Nullable[]> = { battery_kw: [], low_kw: [], high_kw: [], grid_kw: [], soc_frac: [], coverage_kw_frac: [] };
  const put = (at: number, gap: boolean, from: Source, value: (name: Column) => Nullable): void => {
    const before = t[t.length - 1];
    if (gap && before !== undefined) {
      t.push(before + 1);
      source.push(null);
      for (const name of COLUMNS) columns[name].push(null);
    }
    t.push(at);
    source.push(from);
    for (const name of COLUMNS) columns[name].push(value(name));
  };
  history.t_ms.forEach((at, i) => put(at, history.gap[i] ?? false, history.source[i] ?? "live", (name) => history[name][i] ?? null));
  for (const one of live) {
    const last = t[t.length - 1] ?? history.from_ms;
    if (one.t_ms > last) put(one.t_ms, t.length > 0 && one.t_ms - last > history.gap_after_s * 1_000, "live", (name) => one[name]);
  }
  return { t, columns, source };
}
