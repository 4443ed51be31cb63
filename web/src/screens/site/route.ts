/** One site: what it does, what is asked of it, its device and what happened; and the list that leads there. */
import type { ScreenRoute } from "../../app/screen";
import { titles } from "./titles";

export const routes: readonly ScreenRoute[] = [
  { path: "/sites", title: titles.listTitle, nav: { order: 4, key: "s" }, right: "see", load: () => import("./List") },
  { path: "/site/$siteId", title: titles.title, right: "see", load: () => import("./Screen") },
];
