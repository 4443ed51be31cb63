/** What the shell needs to know of a screen. Each folder of `screens/` exports its own, in `route.ts`. */
import type { ComponentType } from "react";
import type { Right } from "../api/types";

export interface ScreenRoute {
  /** The address after `#`; `$name` is a parameter. */
  readonly path: string;
  /** What the window and the heading say. */
  readonly title: string;
  /** Its place in the navigation, and the letter that goes there after `g`. Left out: reached from other screens. */
  readonly nav?: { readonly order: number; readonly key: string };
  /** What it takes to see it. */
  readonly right: Right;
  readonly load: () => Promise<{ default: ComponentType }>;
}
