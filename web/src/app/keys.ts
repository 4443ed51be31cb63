/** The whole page by keyboard: `g` and a letter go to a screen, `/` to the field to search in, `?` shows the keys. */
import { useEffect, useRef } from "react";
import { NAVIGATION } from "./screens";

const PATIENCE_MS = 1_500;

/** Whether what is typed belongs to a field or a dialog, and not to the page. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.closest("dialog") !== null;
}

export function useShortcuts(onKeys: () => void): void {
  const pending = useRef(0);
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent): void => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isTyping(event.target)) return;
      const going = performance.now() - pending.current < PATIENCE_MS && pending.current > 0;
      pending.current = 0;
      const screen = going ? NAVIGATION.find((one) => one.nav?.key === event.key) : undefined;
      if (screen) window.location.hash = screen.path;
      else if (event.key === "g") pending.current = performance.now();
      else if (event.key === "?") onKeys();
      else if (event.key === "/") document.querySelector<HTMLElement>("[data-search]")?.focus();
      else return;
      if (event.key !== "g") event.preventDefault();
    };
    window.addEventListener("keydown", onKeyDown);
    return () => window.removeEventListener("keydown", onKeyDown);
  }, [onKeys]);
}
