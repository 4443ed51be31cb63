/** What the panels read: the state, when it came, and how the connection is. React subscribes to slices of it. */
import { useEffect, useSyncExternalStore } from "react";
import type { Group, LiveState } from "../api/types";
import { NO_GROUPS } from "./reducer";
import { LiveSocket, type Link, type SocketLike } from "./socket";

/** Silence after which an open connection counts as stale. */
export const STALE_AFTER_MS = 10_000;

export interface LiveView {
  readonly state: LiveState | null;
  readonly watched: ReadonlyMap<string, Group>;
  readonly receivedMs: number;
  readonly link: Link;
  readonly fault: string | null;
}

let view: LiveView = { state: null, watched: NO_GROUPS, receivedMs: 0, link: "connecting", fault: null };
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

/** Subscribe to a slice; the panel draws again only when the slice is another object. */
export function useLive<T>(select: (view: LiveView) => T): T {
  return useSyncExternalStore(subscribe, () => select(view));
}

/** Subscribe to one part of the state; null before the first snapshot. */
export function useLivePart<K extends keyof LiveState>(key: K): LiveState[K] | null {
  return useLive((now) => (now.state === null ? null : now.state[key]));
}

function liveUrl(): string {
  const url = new URL("api/live", document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

let live: LiveSocket | null = null;

/** Watch these groups while the caller is drawn; returns their newest figures by name. For one caller at a time. */
export function useWatched(groupIds: readonly string[]): ReadonlyMap<string, Group> {
  const key = groupIds.join("\n");
  useEffect(() => {
    live?.watch(key === "" ? [] : key.split("\n"));
  }, [key]);
  useEffect(() => () => live?.watch([]), []);
  return useLive((now) => now.watched);
}

/** Connect for the lifetime of the page. Returns how to stop. */
export function startLive(): () => void {
  const socket = new LiveSocket(
    {
      openSocket: () => new WebSocket(liveUrl()) as SocketLike,
      after: (ms, task) => {
        const id = window.setTimeout(task, ms);
        return () => window.clearTimeout(id);
      },
      nowMs: () => performance.now(),
      random: () => Math.random(),
    },
    {
      onModel: (model, receivedMs) => change({ state: model.state, watched: model.watched, receivedMs, fault: null }),
      onLink: (link) => {
        if (view.link !== link) change({ link });
      },
      onFault: (fault) => change({ fault }),
    },
  );
  live = socket;
  socket.start();
  return () => {
    live = null;
    socket.stop();
  };
}
