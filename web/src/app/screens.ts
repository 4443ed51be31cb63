/** Every screen that there is: each folder of `screens/` registers itself by its `route.ts`. */
import type { ScreenRoute } from "./screen";

const FOUND = import.meta.glob<{ readonly routes: readonly ScreenRoute[] }>("../screens/*/route.ts", { eager: true });

export const SCREENS: readonly ScreenRoute[] = Object.keys(FOUND)
  .sort()
  .flatMap((name) => FOUND[name]?.routes ?? []);

/** Those of the navigation, in order. */
export const NAVIGATION: readonly ScreenRoute[] = SCREENS.filter((one) => one.nav).sort((a, b) => (a.nav?.order ?? 0) - (b.nav?.order ?? 0));
