/** Forecast quality: how good each forecast was, how honest about itself, and which one is better. */
import type { ScreenRoute } from "../../app/screen";
import { titles } from "./titles";

export const routes: readonly ScreenRoute[] = [
  { path: "/forecast", title: titles.title, nav: { order: 8, key: "q" }, right: "see", load: () => import("./Screen") },
];
