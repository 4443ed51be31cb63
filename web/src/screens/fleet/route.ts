/** The fleet: what the plant does now, and what needs a person. */
import type { ScreenRoute } from "../../app/screen";
import { titles } from "./titles";

export const routes: readonly ScreenRoute[] = [
  { path: "/", title: titles.title, nav: { order: 1, key: "f" }, right: "see", load: () => import("./Screen") },
];
