/** One group of a hierarchy, at any level: how it is, what is below it, what bounds it. */
import type { ScreenRoute } from "../../app/screen";
import { strings } from "./strings";

export const routes: readonly ScreenRoute[] = [{ path: "/node/$groupId", title: strings.title, right: "see", load: () => import("./Screen") }];
