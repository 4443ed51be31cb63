/** How messages become state. Pure: a snapshot replaces, a delta in sequence changes, anything else asks for a new snapshot. */
import type { FeedMessage, Group, LiveMessage, LiveState } from "../api/types";
import { appendSeries, trimSeries } from "./series";
import { partsOf } from "./topics";

export interface LiveModel {
  readonly seq: number;
  readonly epoch: string | null;
  /** The parts that were sent so far. */
  readonly state: Partial<LiveState>;
  /** Feeds by name and key. */
  readonly feeds: ReadonlyMap<string, FeedMessage>;
  /** The newest figures of the groups that are watched, by name. */
  readonly watched: ReadonlyMap<string, Group>;
  /** Whether this page reads slowly. */
  readonly slow: boolean;
}

export const NO_GROUPS: ReadonlyMap<string, Group> = new Map();
export const NO_FEEDS: ReadonlyMap<string, FeedMessage> = new Map();

export type Step = { readonly kind: "next"; readonly model: LiveModel } | { readonly kind: "gap" };

function withFeeds(held: ReadonlyMap<string, FeedMessage>, news: Record<string, FeedMessage>): ReadonlyMap<string, FeedMessage> {
  const entries = Object.entries(news);
  return entries.length === 0 ? held : new Map([...held, ...entries]);
}

/** Apply one message to what is held (null before the first snapshot). */
export function reduce(held: LiveModel | null, message: LiveMessage): Step {
  if (message.kind === "snapshot") {
    const { fleet_series: series } = message.state;
    const state = series ? { ...message.state, fleet_series: trimSeries(series) } : message.state;
    return { kind: "next", model: { seq: message.seq, epoch: message.epoch, state, feeds: withFeeds(NO_FEEDS, message.feeds), watched: NO_GROUPS, slow: held?.slow ?? false } };
  }
  if (held === null) return { kind: "gap" };
  if (message.kind === "groups") {
    return { kind: "next", model: { ...held, watched: new Map(message.groups.map((one) => [one.group_id, one])) } };
  }
  if (message.kind === "slow") return { kind: "next", model: { ...held, slow: message.slow } };
  if (message.from !== held.seq || message.seq < held.seq) return { kind: "gap" };
  const state: Partial<LiveState> = { ...held.state, ...message.set };
  const added = message.append.fleet_series;
  if (added && state.fleet_series) state.fleet_series = appendSeries(state.fleet_series, added);
  return { kind: "next", model: { ...held, seq: message.seq, state, feeds: withFeeds(held.feeds, message.feeds) } };
}

/** The model without what belongs to no topic of these: what is not sent any more must not be shown as live. */
export function keepOnly(held: LiveModel, topics: readonly string[]): LiveModel {
  const parts = new Set(topics.flatMap((topic) => partsOf(topic)));
  const state = Object.fromEntries(Object.entries(held.state).filter(([name]) => parts.has(name as keyof LiveState))) as Partial<LiveState>;
  const feeds = new Map([...held.feeds].filter(([name]) => topics.includes(name)));
  return { ...held, state, feeds };
}
