/** How messages become state. Pure: a snapshot replaces, a delta in sequence changes, anything else asks for a new snapshot. */
import type { Group, LiveMessage, LiveState } from "../api/types";
import { appendSeries, trimSeries } from "./series";

export interface LiveModel {
  readonly seq: number;
  readonly state: LiveState;
  /** The newest figures of the groups that are watched, by name. */
  readonly watched: ReadonlyMap<string, Group>;
}

export const NO_GROUPS: ReadonlyMap<string, Group> = new Map();

export type Step = { readonly kind: "next"; readonly model: LiveModel } | { readonly kind: "gap" };

/** Apply one message to what is held (null before the first snapshot). */
export function reduce(held: LiveModel | null, message: LiveMessage): Step {
  if (message.kind === "snapshot") {
    const state = { ...message.state, fleet_series: trimSeries(message.state.fleet_series) };
    return { kind: "next", model: { seq: message.seq, state, watched: NO_GROUPS } };
  }
  if (held === null) return { kind: "gap" };
  if (message.kind === "groups") {
    return { kind: "next", model: { ...held, watched: new Map(message.groups.map((one) => [one.group_id, one])) } };
  }
  if (message.seq !== held.seq + 1) return { kind: "gap" };
  const state: LiveState = { ...held.state, ...message.set };
  const added = message.append.fleet_series;
  if (added) state.fleet_series = appendSeries(state.fleet_series, added);
  return { kind: "next", model: { ...held, seq: message.seq, state } };
}
