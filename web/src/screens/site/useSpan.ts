/** The window that ends now: it moves on every few seconds of the reader's time, not with every message. */
import { useEffect, useRef, useState } from "react";
import { useLivePart } from "../../live/store";

const MOVES_EVERY_MS = 20_000;
const HOUR_MS = 3_600_000;

export interface Span {
  readonly from_ms: number;
  readonly to_ms: number;
}

/** The last `hours` of the plant's time; null before the first message. */
export function useSpan(hours: number): Span | null {
  const now = useLivePart("now_ms");
  const newest = useRef(now);
  newest.current = now;
  const [at, setAt] = useState(now);
  const known = now !== null;
  useEffect(() => {
    if (!known) return;
    setAt(newest.current);
    const timer = window.setInterval(() => setAt(newest.current), MOVES_EVERY_MS);
    return () => window.clearInterval(timer);
  }, [known]);
  const end = at ?? now;
  return end === null ? null : { from_ms: Math.max(0, Math.floor(end - hours * HOUR_MS)), to_ms: Math.floor(end) + 1 };
}
