/** The market: prices, bids and plan of a resource, and a say in them. */
import type { ScreenRoute } from "../../app/screen";
import { titles } from "./titles";

const load = (): Promise<typeof import("./Screen")> => import("./Screen");

export const routes: readonly ScreenRoute[] = [
  { path: "/market", title: titles.title, nav: { order: 5, key: "m" }, right: "see", load },
  { path: "/market/$resourceId", title: titles.title, right: "see", load },
];
