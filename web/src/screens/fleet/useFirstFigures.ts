/** Whether the fleet's first figures are on the screen and the page has a moment: what is large waits for that. */
import { useEffect, useState } from "react";
import { useLive } from "../../live/store";

/** At the latest so long after the figures. */
const BUSY_MS = 2_000;
/** Without any figures: the map has places to show all the same. */
const WITHOUT_MS = 5_000;

export function useFirstFigures(): boolean {
  const here = useLive((view) => view.state?.fleet !== undefined);
  const [ready, setReady] = useState(false);
  useEffect(() => {
    if (ready) return;
    const go = (): void => setReady(true);
    if (!here) {
      const wait = window.setTimeout(go, WITHOUT_MS);
      return () => window.clearTimeout(wait);
    }
    let idle = 0;
    // After the frame that shows them.
    const frame = requestAnimationFrame(() => {
      if ("requestIdleCallback" in window) idle = window.requestIdleCallback(go, { timeout: BUSY_MS });
      else setTimeout(go);
    });
    return () => {
      cancelAnimationFrame(frame);
      if ("cancelIdleCallback" in window) window.cancelIdleCallback(idle);
    };
  }, [here, ready]);
  return ready;
}
