/** Alarms by cause, and one alarm with its every step. */
import type { ScreenRoute } from "../../app/screen";
import { titles } from "./titles";

export const routes: readonly ScreenRoute[] = [
  { path: "/alarms", title: titles.title, nav: { order: 2, key: "a" }, right: "see", load: () => import("./Screen") },
  { path: "/alarms/$number", title: titles.one, right: "see", load: () => import("./Detail") },
];
