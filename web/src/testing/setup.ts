/** What jsdom lacks of a browser: sizes, media, dialogs, a canvas to draw on. */
import { cleanup } from "@testing-library/react";
import { afterEach, vi } from "vitest";

class NoResizing {
  observe(): void {}
  unobserve(): void {}
  disconnect(): void {}
}

if (typeof window !== "undefined") {
  vi.stubGlobal("ResizeObserver", NoResizing);
  Object.defineProperty(window, "matchMedia", {
    configurable: true,
    value: (media: string) => ({ media, matches: false, addEventListener: () => undefined, removeEventListener: () => undefined, addListener: () => undefined, removeListener: () => undefined }),
  });
  // Elements have a size, else nothing is in view of a table that draws only what is.
  for (const name of ["offsetHeight", "clientHeight"] as const) Object.defineProperty(HTMLElement.prototype, name, { configurable: true, get: () => 400 });
  for (const name of ["offsetWidth", "clientWidth"] as const) Object.defineProperty(HTMLElement.prototype, name, { configurable: true, get: () => 800 });
  HTMLElement.prototype.scrollTo = () => undefined;
  HTMLCanvasElement.prototype.getContext = () => null;
  HTMLDialogElement.prototype.showModal = function showModal(this: HTMLDialogElement) {
    this.setAttribute("open", "");
  };
  HTMLDialogElement.prototype.close = function close(this: HTMLDialogElement) {
    this.removeAttribute("open");
  };
  afterEach(() => cleanup());
}
