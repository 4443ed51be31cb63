/** How a panel stands, and how a question to the plant makes it stand so. Pure. */
import { RefusedError, UnreachedError } from "../api/client";
import { strings } from "../strings";

export type PanelState =
  | { readonly kind: "ready" }
  | { readonly kind: "loading" }
  | { readonly kind: "empty"; readonly words: string }
  /** There is content, but it is old. */
  | { readonly kind: "stale"; readonly ageS: number | null }
  /** There is content, but not all of it. */
  | { readonly kind: "partial"; readonly words: string }
  | { readonly kind: "error"; readonly words: string };

export const READY: PanelState = { kind: "ready" };
export const LOADING: PanelState = { kind: "loading" };

/** What went wrong, in words: the plant's own where it gave some. */
export function faultWords(error: unknown): string {
  if (error instanceof RefusedError) return error.fix === null ? error.message : strings.error.withFix(error.message, error.fix);
  if (error instanceof UnreachedError) return strings.error.unreached;
  return error instanceof Error ? error.message : String(error);
}

export interface Answered<T> {
  readonly isPending: boolean;
  readonly isError: boolean;
  readonly error: unknown;
  readonly data: T | undefined;
  readonly dataUpdatedAt: number;
}

/** How the panel of a question stands. An old answer is better than none: a fault after it makes it stale. */
export function stateOfQuery<T>(query: Answered<T>, empty?: (data: T) => string | null, nowMs: number = Date.now()): PanelState {
  if (query.data === undefined) return query.isError ? { kind: "error", words: faultWords(query.error) } : LOADING;
  if (query.isError) return { kind: "stale", ageS: query.dataUpdatedAt > 0 ? Math.max(0, (nowMs - query.dataUpdatedAt) / 1000) : null };
  const words = empty?.(query.data) ?? null;
  return words === null ? READY : { kind: "empty", words };
}
