/** Who the plant is. Pure. */
import type { Resource } from "../../api/types";
import { count } from "../../format/number";
import { strings } from "../../strings";

function lowerFirst(text: string): string {
  // "Homes" becomes "homes"; "ERCOT West" stays.
  const [a = "", b = ""] = text;
  return b !== "" && b === b.toLowerCase() ? a.toLowerCase() + text.slice(1) : text;
}

/** Who the plant is: `1,000 homes and one big battery, run as one power plant`; what has a number is called by its name. */
export function composition(resources: readonly Resource[]): string | null {
  if (resources.length === 0) return null;
  const homes = resources.filter((one) => one.sites > 1);
  const single = resources.filter((one) => one.sites <= 1);
  const parts = [...homes.map((one) => strings.homes(count(one.sites))), ...single.map((one) => (/\d$/.test(one.name) ? one.name : strings.oneSite(lowerFirst(one.name))))];
  const text = strings.composition(parts);
  return text.charAt(0).toUpperCase() + text.slice(1);
}
