/** The fleet: what the plant does now, and what needs a person. */
import type { ScreenRoute } from "../../app/screen";
import { strings } from "./strings";

export const routes: readonly ScreenRoute[] = [
  { path: "/", title: strings.title, nav: { order: 1, key: "f" }, right: "see", load: () => import("./Screen") },
];
