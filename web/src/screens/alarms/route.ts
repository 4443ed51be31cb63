/** Alarms by cause, and one alarm with its every step. */
import type { ScreenRoute } from "../../app/screen";
import { strings } from "./strings";

export const routes: readonly ScreenRoute[] = [
  { path: "/alarms", title: strings.title, nav: { order: 2, key: "a" }, right: "see", load: () => import("./Screen") },
  { path: "/alarms/$number", title: strings.one, right: "see", load: () => import("./Detail") },
];
