/** What the panels read: the state, when it came, and how the connection is. React subscribes to slices of it. */
import { useCallback, useEffect, useSyncExternalStore } from "react";
import type { FeedMessage, Group, LiveState } from "../api/types";
import { NO_FEEDS, NO_GROUPS } from "./reducer";
import { LiveSocket, type Link, type SocketLike, type Wish } from "./socket";
import { topicOf, Wanted } from "./topics";

/** Silence after which an open connection counts as stale. */
export const STALE_AFTER_MS = 10_000;

export interface LiveView {
  /** The parts that are here; null before the first snapshot. */
  readonly state: Partial<LiveState> | null;
  readonly feeds: ReadonlyMap<string, FeedMessage>;
  readonly watched: ReadonlyMap<string, Group>;
  readonly receivedMs: number;
  readonly link: Link;
  readonly fault: string | null;
  readonly slow: boolean;
}

const NOTHING: LiveView = { state: null, feeds: NO_FEEDS, watched: NO_GROUPS, receivedMs: 0, link: "connecting", fault: null, slow: false };

let view: LiveView = NOTHING;
const listeners = new Set<() => void>();
let announced = false;

function change(part: Partial<LiveView>): void {
  view = { ...view, ...part };
  if (announced) return;
  // At most one drawing a frame, however fast the messages come.
  announced = true;
  requestAnimationFrame(() => {
    announced = false;
    for (const listener of listeners) listener();
  });
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Put a view in place of the present one and draw at once. For tests. */
export function showView(part: Partial<LiveView>): void {
  view = { ...NOTHING, ...part };
  for (const listener of listeners) listener();
}

/** Subscribe to a slice; the panel draws again only when the slice is another object. */
export function useLive<T>(select: (view: LiveView) => T): T {
  return useSyncExternalStore(subscribe, () => select(view));
}

const later = (ms: number, task: () => void): (() => void) => {
  const id = window.setTimeout(task, ms);
  return () => window.clearTimeout(id);
};

let live: LiveSocket | null = null;
const wanted = new Wanted(later, (topics) => live?.want(topics));

/** Have a topic sent while the caller is drawn; null for none. */
export function useTopic(topic: string | null): void {
  useEffect(() => (topic === null ? undefined : wanted.hold(topic)), [topic]);
}

/** One part of the state, sent while the caller is drawn; null before it is here. */
export function useLivePart<K extends keyof LiveState>(key: K): LiveState[K] | null {
  useTopic(topicOf(key));
  return useLive((now) => now.state?.[key] ?? null);
}

/** Several parts at once; null until all of them are here. */
export function useLiveParts<K extends keyof LiveState>(...keys: readonly K[]): Pick<LiveState, K> | null {
  const topics = [...new Set(keys.map(topicOf))].sort().join("\n");
  useEffect(() => {
    const held = topics.split("\n").map((topic) => wanted.hold(topic));
    return () => {
      for (const letGo of held) letGo();
    };
  }, [topics]);
  const state = useLive((now) => now.state);
  return state !== null && keys.every((key) => state[key] !== undefined) ? (state as Pick<LiveState, K>) : null;
}

export interface Feed<T> {
  readonly value: T | null;
  readonly asOfMs: number | null;
  readonly fault: string | null;
}

const NO_FEED: Feed<never> = { value: null, asOfMs: null, fault: null };
const feedsSeen = new WeakMap<FeedMessage, Feed<unknown>>();

/** What a feed says, sent while the caller is drawn: `useFeed<SiteNow>("site/home-0042")`; null asks for none. */
export function useFeed<T>(topic: string | null): Feed<T> {
  useTopic(topic);
  const pick = useCallback(
    (now: LiveView): Feed<T> => {
      const message = topic === null ? undefined : now.feeds.get(topic);
      if (!message) return NO_FEED;
      let feed = feedsSeen.get(message);
      if (!feed) {
        feed = { value: message.value ?? null, asOfMs: message.as_of_ms, fault: message.fault };
        feedsSeen.set(message, feed);
      }
      return feed as Feed<T>;
    },
    [topic],
  );
  return useLive(pick);
}

const watchers = new Map<symbol, readonly string[]>();

function tellWatched(): void {
  live?.watch([...new Set([...watchers.values()].flat())]);
}

/** Watch these groups while the caller is drawn; returns the newest figures of all that are watched, by name. */
export function useWatched(groupIds: readonly string[]): ReadonlyMap<string, Group> {
  const key = groupIds.join("\n");
  useEffect(() => {
    const me = Symbol("watcher");
    watchers.set(me, key === "" ? [] : key.split("\n"));
    tellWatched();
    return () => {
      watchers.delete(me);
      tellWatched();
    };
  }, [key]);
  return useLive((now) => now.watched);
}

function liveUrl({ topics, epoch, seq }: Wish): string {
  const url = new URL("api/live", document.baseURI);
  url.hash = "";
  url.search = "";
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.searchParams.set("topics", topics.join(","));
  if (epoch !== null && seq !== null) {
    url.searchParams.set("epoch", epoch);
    url.searchParams.set("seq", String(seq));
  }
  return url.href;
}

let sessionOver: (() => void) | null = null;

/** Say what to do when the server ends the socket because the session is over. */
export function onLiveSessionOver(handler: (() => void) | null): void {
  sessionOver = handler;
}

/** Connect at once, after signing in. */
export function hurryLive(): void {
  live?.hurry();
}

/** Connect for the lifetime of the page. Returns how to stop. */
export function startLive(): () => void {
  const socket = new LiveSocket(
    {
      openSocket: (wish) => new WebSocket(liveUrl(wish)) as SocketLike,
      after: later,
      nowMs: () => performance.now(),
      random: () => Math.random(),
    },
    {
      onModel: ({ state, feeds, watched, slow }, receivedMs) => change({ state, feeds, watched, slow, receivedMs, fault: null }),
      onLink: (link) => {
        if (view.link !== link) change({ link });
      },
      onFault: (fault) => change({ fault }),
      onSessionOver: () => sessionOver?.(),
    },
    wanted.topics(),
  );
  live = socket;
  socket.start();
  const hurry = (): void => socket.hurry();
  window.addEventListener("online", hurry);
  return () => {
    window.removeEventListener("online", hurry);
    live = null;
    socket.stop();
  };
}
