/** Which other screens there are, so that no link leads nowhere. */
import { SCREENS } from "../../app/screens";

export function hasScreen(path: string): boolean {
  return SCREENS.some((one) => one.path === path);
}
