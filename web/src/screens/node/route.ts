/** One group of a hierarchy, at any level: how it is, what is below it, what bounds it. */
import type { ScreenRoute } from "../../app/screen";
import { titles } from "./titles";

export const routes: readonly ScreenRoute[] = [{ path: "/node/$groupId", title: titles.title, right: "see", load: () => import("./Screen") }];
