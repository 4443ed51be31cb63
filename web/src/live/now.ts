/** The simulated present: what the server last said, carried forward with its speed so that clocks do not stutter. */
import { useEffect, useState } from "react";
import { STALE_AFTER_MS, useLive, type LiveView } from "./store";

/** How far beyond the last word of the server the clock may run, in real time. */
export const CARRY_MS = 2_000;

export interface CarryInput {
  readonly nowMs: number;
  readonly speed: number | null;
  readonly silentMs: number;
}

/** The simulated instant after `silentMs` of real time without a message; without a speed the clock waits. */
export function carriedNow({ nowMs, speed, silentMs }: CarryInput): number {
  if (speed === null) return nowMs;
  return nowMs + Math.min(Math.max(silentMs, 0), CARRY_MS) * speed;
}

/** Draw again every `everyMs`; returns the real time of a monotonic clock. */
export function useHeartbeat(everyMs: number): number {
  const [beat, setBeat] = useState(() => performance.now());
  useEffect(() => {
    const id = window.setInterval(() => setBeat(performance.now()), everyMs);
    return () => window.clearInterval(id);
  }, [everyMs]);
  return beat;
}

/** The simulated present in milliseconds; null before the first snapshot. */
export function useNowMs(): number | null {
  const beat = useHeartbeat(250);
  const view = useLive((now) => now);
  const nowMs = view.state?.now_ms;
  if (nowMs === undefined) return null;
  const silentMs = isRunning(view) ? beat - view.receivedMs : 0;
  return carriedNow({ nowMs, speed: view.state?.speed ?? null, silentMs });
}

function isFinished(view: LiveView): boolean {
  return (view.state?.run?.done_frac ?? 0) >= 1;
}

function isRunning(view: LiveView): boolean {
  return view.link === "live" && !isFinished(view);
}

export type Presence = "connecting" | "live" | "stale" | "reconnecting" | "finished";

/** How far the page can be trusted to show the present. */
export function presenceOf(view: LiveView, realNowMs: number): Presence {
  if (view.link !== "live") return view.link;
  if (isFinished(view)) return "finished";
  return realNowMs - view.receivedMs > STALE_AFTER_MS ? "stale" : "live";
}

/** The presence and the age of the last message in seconds. */
export function usePresence(): { presence: Presence; silentS: number } {
  const beat = useHeartbeat(1000);
  const view = useLive((now) => now);
  return { presence: presenceOf(view, beat), silentS: Math.max(0, (beat - view.receivedMs) / 1000) };
}
