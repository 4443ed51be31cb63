/** Which groups are shown and what of them is newest. Pure. */
import type { GroupOrder, GroupQuery } from "../../api/plant";
import type { Group } from "../../api/types";

export const FIRST_SHOWN = 50;
/** As many as the plant lets one page watch. */
export const MOST_SHOWN = 200;
export const ORDERS: readonly GroupOrder[] = ["registry", "name", "deviation", "coverage", "suspect", "power", "doubt"];

/** What somebody has opened: the groups from the root down to the open one, a name that is looked for, an order, a number. */
export interface Opened {
  readonly path: readonly Group[];
  readonly text: string;
  readonly order: GroupOrder;
  readonly limit: number;
}

export const AT_THE_TOP: Opened = { path: [], text: "", order: "registry", limit: FIRST_SHOWN };

/** What to ask the plant for; null at the top, whose groups come by themselves. */
export function queryOf({ path, text, order, limit }: Opened): GroupQuery | null {
  const wanted = text.trim();
  const open = path.at(-1);
  // A name is looked for everywhere below the top, in the tree that is open.
  if (wanted !== "") return { text: wanted, order, limit, ...(open ? { hierarchy: open.hierarchy_id } : {}) };
  if (open) return { parent: open.group_id, order, limit };
  return order === "registry" ? null : { order, limit };
}

/** The groups with the newest figures that are known of each. */
export function newest(groups: readonly Group[], watched: ReadonlyMap<string, Group>): Group[] {
  return groups.map((one) => watched.get(one.group_id) ?? one);
}

/** Whether more of so many groups can be shown. */
export function canShowMore(opened: Opened, total: number): boolean {
  return total > opened.limit && opened.limit < MOST_SHOWN;
}
