/** Groups in the order of their tree: each below its parent. Pure. */
import type { Group } from "../../api/types";

export interface Placed {
  readonly group: Group;
  readonly depth: number;
}

/** Return every group once, parents first; a group whose parent is missing stands at the top. */
export function inTreeOrder(groups: readonly Group[]): Placed[] {
  const keyOf = (hierarchy: string, id: string | null): string => `${hierarchy}/${id ?? ""}`;
  const known = new Set(groups.map((one) => keyOf(one.hierarchy_id, one.group_id)));
  const children = new Map<string, Group[]>();
  const tops: Group[] = [];
  for (const one of groups) {
    const parent = keyOf(one.hierarchy_id, one.parent_id);
    if (one.parent_id === null || !known.has(parent)) tops.push(one);
    else children.set(parent, [...(children.get(parent) ?? []), one]);
  }
  const placed: Placed[] = [];
  const visit = (group: Group, depth: number): void => {
    placed.push({ group, depth });
    for (const child of children.get(keyOf(group.hierarchy_id, group.group_id)) ?? []) visit(child, depth + 1);
  };
  for (const top of tops) visit(top, 0);
  return placed;
}
