/** Settlement: what was awarded and delivered, and what it came to. */
import type { ScreenRoute } from "../../app/screen";
import { titles } from "./titles";

const load = (): Promise<typeof import("./Screen")> => import("./Screen");

export const routes: readonly ScreenRoute[] = [
  { path: "/settlement", title: titles.title, nav: { order: 6, key: "t" }, right: "see", load },
  { path: "/settlement/$resourceId", title: titles.title, right: "see", load },
];
