/** Dispatch: what runs, is planned and is past; a new one from preview to launch; one order as it goes. */
import type { ScreenRoute } from "../../app/screen";
import { titles } from "./titles";

export const routes: readonly ScreenRoute[] = [
  { path: "/dispatch", title: titles.title, nav: { order: 3, key: "d" }, right: "see", load: () => import("./Screen") },
  { path: "/dispatch/new", title: titles.form, right: "operate", load: () => import("./NewDispatch") },
  { path: "/dispatch/$orderId", title: titles.order, right: "see", load: () => import("./OneOrder") },
];
