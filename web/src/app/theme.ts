/** Light or dark: what the system says, or what the reader chose, kept in this browser. */
import { useSyncExternalStore } from "react";

export type ThemeChoice = "system" | "light" | "dark";

const KEPT_AS = "shoal.theme";
const DARK = "(prefers-color-scheme: dark)";
const listeners = new Set<() => void>();

function kept(): ThemeChoice {
  try {
    const found = localStorage.getItem(KEPT_AS);
    return found === "light" || found === "dark" ? found : "system";
  } catch {
    return "system"; // a browser that keeps nothing
  }
}

let choice: ThemeChoice = typeof window === "undefined" ? "system" : kept();

function isDark(): boolean {
  return choice === "dark" || (choice === "system" && window.matchMedia(DARK).matches);
}

/** Let the document know; before the first drawing and at every change. */
export function applyTheme(): void {
  document.documentElement.dataset["theme"] = isDark() ? "dark" : "light";
}

/** Choose, and remember it. */
export function chooseTheme(wanted: ThemeChoice): void {
  choice = wanted;
  try {
    if (wanted === "system") localStorage.removeItem(KEPT_AS);
    else localStorage.setItem(KEPT_AS, wanted);
  } catch {
    // It holds until the page is closed.
  }
  applyTheme();
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  const query = window.matchMedia(DARK);
  const changed = (): void => {
    applyTheme();
    listener();
  };
  query.addEventListener("change", changed);
  listeners.add(listener);
  return () => {
    query.removeEventListener("change", changed);
    listeners.delete(listener);
  };
}

/** Whether it is dark now. */
export function useDark(): boolean {
  return useSyncExternalStore(subscribe, isDark);
}

/** What the reader chose. */
export function useThemeChoice(): ThemeChoice {
  return useSyncExternalStore(subscribe, () => choice);
}
