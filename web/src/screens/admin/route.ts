/** Administration: who and what may come in, by which rules the plant acts, how its software is, who did what. */
import type { ScreenRoute } from "../../app/screen";
import { titles } from "./titles";

export const routes: readonly ScreenRoute[] = [
  { path: "/admin", title: titles.title, nav: { order: 9, key: "o" }, right: "see", load: () => import("./Screen") },
];
