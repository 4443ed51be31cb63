/** Waiting times between attempts to connect: doubling, capped, with full jitter so that many pages do not return at once. */

export const BACKOFF_FIRST_MS = 500;
export const BACKOFF_CAP_MS = 15_000;

/** Return the wait before attempt number `attempt` (from 0); `random` is in [0, 1). */
export function backoffMs(attempt: number, random: number): number {
  const ceiling = Math.min(BACKOFF_CAP_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 16));
  return Math.round(ceiling / 2 + (ceiling / 2) * random);
}
