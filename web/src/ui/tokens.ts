/** Colours by meaning. The values live in `tokens.css`, once for light and once for dark; a colour means one thing everywhere. */
import { useSyncExternalStore } from "react";

export type Token =
  | "--battery"
  | "--import"
  | "--export"
  | "--solar"
  | "--load"
  | "--price"
  | "--forecast"
  | "--ink"
  | "--ink-dim"
  | "--grid";

/** The present value of a colour, for a canvas. */
export function tokenValue(token: Token): string {
  return getComputedStyle(document.documentElement).getPropertyValue(token).trim();
}

const DARK = "(prefers-color-scheme: dark)";

function subscribe(listener: () => void): () => void {
  const query = window.matchMedia(DARK);
  query.addEventListener("change", listener);
  return () => query.removeEventListener("change", listener);
}

/** Whether the reader prefers dark. */
export function useDark(): boolean {
  return useSyncExternalStore(subscribe, () => window.matchMedia(DARK).matches);
}
