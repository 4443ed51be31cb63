/** Columns made ready to draw: gaps become nulls, intervals become steps. Pure. */
import type { Nullable } from "../api/types";

export interface Columns {
  readonly t: number[];
  readonly columns: Nullable[][];
}

/** The usual distance between points: the median, so that a few gaps do not shift it. */
export function usualStepMs(t: readonly number[]): number {
  const steps: number[] = [];
  for (let i = 1; i < t.length; i += 1) steps.push((t[i] ?? 0) - (t[i - 1] ?? 0));
  steps.sort((a, b) => a - b);
  return steps[Math.floor(steps.length / 2)] ?? 0;
}

const STEPS_LOOKED_AT = 8;

/**
 * Put a row of nulls wherever points are more than `factor` times as far apart as those before, so that no line bridges a
 * silence. Points that are `leastMs` apart or less are never a silence.
 */
export function withGaps(t: readonly number[], columns: readonly (readonly Nullable[])[], factor = 3, leastMs = 0): Columns {
  const outT: number[] = [];
  const out: Nullable[][] = columns.map(() => []);
  // The distance may change along the way: old points lie farther apart than new ones.
  const usual = [usualStepMs(t.slice(0, 2 * STEPS_LOOKED_AT))];
  t.forEach((at, i) => {
    const before = t[i - 1];
    if (before !== undefined) {
      const limit = Math.max(...usual) * factor;
      if (limit > 0 && at - before > Math.max(limit, leastMs)) {
        outT.push(before + 1);
        for (const column of out) column.push(null);
      } else {
        usual.push(at - before);
        if (usual.length > STEPS_LOOKED_AT) usual.shift();
      }
    }
    outT.push(at);
    columns.forEach((column, c) => out[c]?.push(column[i] ?? null));
  });
  return { t: outT, columns: out };
}

/** How many drawn points one interval becomes in `asSteps`. */
export const POINTS_PER_STEP = 4;

/**
 * Draw intervals as what they are, constant from start to end: four points each. A "step" column holds its value over
 * the whole interval, a "bar" column leaves a sliver free on both sides.
 */
export function asSteps(
  startMs: readonly number[],
  endMs: readonly number[],
  columns: readonly { readonly kind: "step" | "bar"; readonly values: readonly Nullable[] }[],
): Columns {
  const t: number[] = [];
  const out: Nullable[][] = columns.map(() => []);
  startMs.forEach((start, i) => {
    const end = endMs[i] ?? start;
    const inset = (end - start) * 0.1;
    t.push(start, start + inset, end - inset, end - 1);
    columns.forEach(({ kind, values }, c) => {
      const value = values[i] ?? null;
      const edge = kind === "bar" ? null : value;
      out[c]?.push(edge, value, value, edge);
    });
  });
  return { t, columns: out };
}

/** The ends of intervals that are named by their starts: the next start, and one usual step for the last. */
export function endsOf(startMs: readonly number[], usualMs = 3_600_000): number[] {
  return startMs.map((start, i) => Math.min(startMs[i + 1] ?? start + usualMs, start + usualMs));
}

/** Indices of at most `limit` of `length` points, evenly apart and with the last one. */
export function thin(length: number, limit: number): number[] {
  const every = Math.max(1, Math.ceil(length / limit));
  const indices: number[] = [];
  for (let i = length - 1; i >= 0; i -= every) indices.push(i);
  return indices;
}
