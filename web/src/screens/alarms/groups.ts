/** What a group of alarms says, in words. Pure. */
import type { Schema } from "../../api/client";
import { SCREENS } from "../../app/screens";
import { links } from "../../app/links";
import { what } from "../../features/alarms/alarms";
import { amount } from "../../format/money";
import { count } from "../../format/number";
import { powerSize } from "../../format/power";
import { strings } from "./strings";

export type AlarmGroups = Schema["AlarmGroups"];
export type AlarmGroup = Schema["AlarmGroup"];
export type GroupedAlarm = Schema["GroupedAlarm"];
export type Shelved = Schema["Shelved"];
type Evidence = Schema["Evidence"];

const words = strings.groups;

/** What is wrong, all kinds of it told. */
export function kindsOf(group: Pick<AlarmGroup, "kinds">): string {
  const said = group.kinds.map(what);
  const [first = "", second] = said;
  if (second === undefined) return first;
  return said.length === 2 ? strings.causes.two(first, second) : strings.causes.several(first, count(said.length - 1));
}

/** What is behind a group. */
export function causeOf(group: AlarmGroup): string {
  switch (group.kind) {
    case "gateway":
      return strings.causes.gateway(group.name);
    case "weather":
      return strings.causes.weather(group.name);
    case "type":
      return strings.causes.type(strings.causes.device[group.subject] ?? group.subject);
    case "part":
      return what({ kind: group.subject });
    case "kind":
      return group.count === 1 ? group.name : strings.causes.kind(what({ kind: group.subject }));
    case "other":
      return strings.causes.other;
    default:
      return strings.causes.group(group.name);
  }
}

/** How many alarms and sites it is. */
export function extentOf(group: AlarmGroup): string[] {
  const said = [words.alarms(count(group.count))];
  if (group.sites > 0) said.push((group.kinds.length > 1 ? words.sites : words.sitesOfOne)(count(group.sites)));
  return said;
}

/** The power that cannot be counted on: its size, and how sure that is. */
export function powerOf(group: AlarmGroup): { readonly value: string; readonly sure: string | null } {
  const { lost_kw: lost, low_kw: low, high_kw: high } = group;
  if (lost === null || low === null || high === null) return { value: words.notPower, sure: null };
  if (high < 0.05) return { value: words.none, sure: words.powerExact };
  return { value: powerSize(lost), sure: high - low < 0.05 ? words.powerExact : words.powerRange(powerSize(low), powerSize(high)) };
}

/** What hangs on it each hour, by currency. */
export function moneyOf(group: AlarmGroup): { readonly value: string; readonly sure: string }[] {
  const byCurrency = new Map<string, [number, number, number]>();
  for (const one of group.money) {
    const [low, expected, high] = byCurrency.get(one.currency) ?? [0, 0, 0];
    byCurrency.set(one.currency, [low + Number(one.low_per_h), expected + Number(one.expected_per_h), high + Number(one.high_per_h)]);
  }
  return [...byCurrency].map(([currency, [low, expected, high]]) => ({
    value: amount(expected, currency),
    sure: high - low < 0.005 ? words.powerExact : words.moneyRange(amount(low, currency), amount(high, currency)),
  }));
}

/** Where a piece of evidence is to be seen; null while the page has no screen for it. */
export function evidenceLink(one: Evidence, screens: readonly string[] = SCREENS.map((screen) => screen.path)): string | null {
  const to = (path: string, link: string): string | null => (screens.includes(path) ? link : null);
  switch (one.kind) {
    case "group":
      return to("/node/$groupId", links.node(one.id));
    case "site":
      return to("/site/$siteId", links.site(one.id));
    case "alarm":
      return links.alarm(Number(one.id));
    case "resource":
      return to("/market/$resourceId", links.market(one.id));
    case "system":
      return to("/admin", links.admin({ tab: "system" }));
    default:
      return null;
  }
}

/** What it is called. */
export function evidenceName(one: Evidence): string {
  const say = strings.group.evidenceWords;
  return one.kind === "system" ? say.system : say[one.kind](one.label);
}
