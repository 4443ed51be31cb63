/** Whether an element is on the screen, or so many pixels from it: what nobody sees is neither asked for nor drawn. */
import { useEffect, useState, type RefObject } from "react";

export function useInView(element: RefObject<Element | null>, marginPx = 0): boolean {
  const [seen, setSeen] = useState(typeof IntersectionObserver === "undefined");
  useEffect(() => {
    if (!element.current || typeof IntersectionObserver === "undefined") return;
    const watcher = new IntersectionObserver((entries) => setSeen(entries.at(-1)?.isIntersecting ?? false), { rootMargin: `${marginPx}px` });
    watcher.observe(element.current);
    return () => watcher.disconnect();
  }, [element, marginPx]);
  return seen;
}
