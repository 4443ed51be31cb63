/** Workflow runs: what the plant decided for each gate, from what, and whether it would decide so again. */
import type { ScreenRoute } from "../../app/screen";
import { titles } from "./titles";

export const routes: readonly ScreenRoute[] = [
  { path: "/runs", title: titles.title, nav: { order: 7, key: "r" }, right: "see", load: () => import("./Screen") },
  { path: "/run/$workflowId", title: titles.one, right: "see", load: () => import("./Run") },
];
