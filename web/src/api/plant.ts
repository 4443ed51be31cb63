/** Questions that several places put in the same way. */
import { api, type ArgsOf } from "./client";
import type { GroupPage } from "./types";

export type GroupQuery = NonNullable<ArgsOf<"get", "/api/groups">["query"]>;
export type GroupOrder = NonNullable<GroupQuery["order"]>;

/** Ask for groups with their newest figures. Throws `RefusedError` with the reason in words. */
export function readGroups(query: GroupQuery, signal: AbortSignal): Promise<GroupPage> {
  return api.get("/api/groups", { query, signal });
}
