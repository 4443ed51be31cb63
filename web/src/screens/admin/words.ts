/** What administration says of its records. Pure. */
import type { Schema } from "../../api/client";
import { fixed, percent } from "../../format/number";
import { duration } from "../../format/time";
import { strings } from "./strings";

export type UserView = Schema["UserView"];
export type DeviceView = Schema["DeviceView"];
export type DevicePage = Schema["DevicePage"];
export type EnrolledDevice = Schema["EnrolledDevice"];
export type ProgramAdmin = Schema["ProgramAdmin"];
export type MarketView = Schema["MarketView"];
export type ProductView = Schema["ProductView"];
export type FeedSeries = Schema["FeedSeries"];
export type SystemAdmin = Schema["SystemAdmin"];
export type AuditEntry = Schema["AuditEntryView"];

export const TABS = ["users", "devices", "programs", "markets", "feeds", "system", "audit"] as const;
export type Tab = (typeof TABS)[number];
/** What whoever may see the plant sees of its administration. */
export const SEEN: readonly Tab[] = ["markets", "feeds", "system"];
export const ROLES = ["viewer", "operator", "trader", "admin", "homeowner"] as const;
export type Role = (typeof ROLES)[number];

const LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const PASSWORD_LETTERS = 20;
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** The tab that the address names, else the first that the reader may see. */
export function tabOf(asked: string | undefined, shown: readonly Tab[]): Tab {
  return shown.find((one) => one === asked) ?? shown[0] ?? "system";
}

/** A password of letters and digits that nobody mistakes for each other; `draw` gives random whole numbers below 2^32. */
export function madePassword(draw: (count: number) => Uint32Array = (count) => crypto.getRandomValues(new Uint32Array(count))): string {
  const most = Math.floor(2 ** 32 / LETTERS.length) * LETTERS.length;
  let made = "";
  while (made.length < PASSWORD_LETTERS) {
    for (const number of draw(PASSWORD_LETTERS)) if (number < most && made.length < PASSWORD_LETTERS) made += LETTERS.charAt(number % LETTERS.length);
  }
  return made;
}

/** The names in a field: separated by whatever is no part of one. */
export function namesIn(text: string): string[] {
  return [...new Set(text.split(/[\s,;]+/).filter((one) => one !== ""))];
}

/** A number of bytes as people say it of disks. */
export function room(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${fixed(value, unit === 0 ? 0 : 1)} ${UNITS[unit] ?? ""}`;
}

/** How much is free, and whether that is little: below a tenth. */
export function freeWords(free: number, all: number): { words: string; little: boolean } {
  const share = all > 0 ? free / all : 0;
  return { words: strings.system.of(room(free), room(all), percent(share)), little: share < 0.1 };
}

/** When a product's bids close. */
export function gateWords(gate: ProductView["gates"][number]): string {
  const words = strings.markets;
  const at = gate.closes_at ?? "";
  const closes = gate.kind === "interval" ? words.gateLead(duration(gate.lead_s)) : gate.kind === "bands" ? words.gateBands(at) : words.gateAt(at);
  return gate.publishes_at === null ? closes : strings.and([closes, words.publishes(gate.publishes_at)]);
}

/** The hours of a program's standing services, a line each. */
export function serviceWords(program: ProgramAdmin): string[] {
  const words = strings.programs;
  return program.services.map((one) => {
    const hours = one.windows.length === 0 ? words.always : words.hoursOf(one.windows.join(", "), one.zone);
    return words.service(one.kind.replaceAll("_", " "), one.group, hours);
  });
}

/** What the clocks of a zone show at an instant, as if it were UTC. */
function shownMs(ms: number, zone: string): number {
  const parts = new Intl.DateTimeFormat("en-US", { timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" }).formatToParts(ms);
  const get = (type: Intl.DateTimeFormatPartTypes): number => Number(parts.find((one) => one.type === type)?.value ?? 0);
  return Date.UTC(get("year"), get("month") - 1, get("day"), get("hour"), get("minute"), get("second"));
}

/** When a day (`2021-02-10`) begins in a zone, or so many days later; undefined for no day. */
export function dayStartMs(day: string | undefined, zone: string, later = 0): number | undefined {
  if (!day || !/^\d{4}-\d\d-\d\d$/.test(day)) return undefined;
  const wanted = Date.parse(`${day}T00:00:00Z`) + later * 86_400_000;
  if (Number.isNaN(wanted)) return undefined;
  // twice: the first guess may lie on the other side of a change of the clocks
  const first = wanted - (shownMs(wanted, zone) - wanted);
  const exact = first - (shownMs(first, zone) - wanted);
  return Math.max(exact, 0);
}
