/** Settlement: what was awarded and delivered, and what it came to. */
import type { ScreenRoute } from "../../app/screen";
import { strings } from "./strings";

const load = (): Promise<typeof import("./Screen")> => import("./Screen");

export const routes: readonly ScreenRoute[] = [
  { path: "/settlement", title: strings.title, nav: { order: 6, key: "t" }, right: "see", load },
  { path: "/settlement/$resourceId", title: strings.title, right: "see", load },
];
