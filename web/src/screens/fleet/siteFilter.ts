/** Which sites are asked for, as it stands in the address. Pure. */
import type { Severity } from "../../api/types";

export const GRADES = ["any", "fresh", "suspect", "stale", "unknown", "silent"] as const;
export const ORDERS = ["registry", "alarm", "grade", "age", "power", "charge"] as const;
export const ALARMS: readonly Severity[] = ["notice", "warning", "major", "critical"];
export type GradeAsked = (typeof GRADES)[number];
export type SiteOrder = (typeof ORDERS)[number];
export type View = "map" | "table";

export interface SiteFilter {
  readonly text: string;
  readonly group: string;
  readonly grade: GradeAsked;
  readonly type: string;
  readonly alarm: Severity | "";
  readonly program: string;
  readonly order: SiteOrder;
  readonly view: View;
}

/** What an address asks for; what it has of other words is left out. */
export function filterOf(search: Readonly<Record<string, string | undefined>>): SiteFilter {
  return {
    text: search["text"] ?? "",
    group: search["group"] ?? "",
    grade: GRADES.find((one) => one === search["grade"]) ?? "any",
    type: search["type"] ?? "",
    alarm: ALARMS.find((one) => one === search["alarm"]) ?? "",
    program: search["program"] ?? "",
    order: ORDERS.find((one) => one === search["order"]) ?? "registry",
    view: search["view"] === "table" ? "table" : "map",
  };
}

export interface SiteQuery {
  readonly text?: string;
  readonly group?: string;
  readonly grade?: GradeAsked;
  readonly type?: string;
  readonly alarm?: Severity;
  readonly program?: string;
}

/** The same as a question to the plant, without what lets everything through. */
export function queryOf(filter: SiteFilter): SiteQuery {
  return {
    ...(filter.text.trim() === "" ? {} : { text: filter.text.trim() }),
    ...(filter.group === "" ? {} : { group: filter.group }),
    ...(filter.grade === "any" ? {} : { grade: filter.grade }),
    ...(filter.type === "" ? {} : { type: filter.type }),
    ...(filter.alarm === "" ? {} : { alarm: filter.alarm }),
    ...(filter.program === "" ? {} : { program: filter.program }),
  };
}

/** Whether anything is left out. */
export function isNarrowed(filter: SiteFilter): boolean {
  return Object.keys(queryOf(filter)).length > 0;
}
