/** The one sentence: what the plant does now and for whom, from what its controller said last. Pure. */
import type { Schema } from "../../api/client";
import type { Resource } from "../../api/types";
import { marketName } from "../../format/market";
import { count } from "../../format/number";
import { IDLE_KW, batteryPhrase, batteryRange } from "../../format/power";
import { dayHour, duration } from "../../format/time";
import { strings } from "./strings";

export type Purpose = Schema["Purpose"];
export type PurposePart = Schema["PurposePart"];

const words = strings.purpose;
/** What one breath holds: the others are counted. */
const MOST_SAID = 3;

/** For whom a part is: the market, or the program by its name. */
function whom(part: PurposePart): string {
  if (part.market_id !== null) return words.forMarket(marketName(part.market_id));
  return words.forProgram(part.program);
}

function who(part: PurposePart, resources: readonly Resource[]): string {
  const name = resources.find((one) => one.resource_id === part.name)?.name;
  return name !== undefined && part.sites === 1 ? name : words.sites(count(part.sites), name ?? "");
}

function does(part: PurposePart): string {
  const power = batteryPhrase(part.power_kw);
  if (part.doing === "charge") return words.charges(power);
  if (part.doing === "hold") return words.holds(power);
  return part.doing === "local" ? words.local(power) : power;
}

/** One part in words, with how sure its power is. */
export function partWords(part: PurposePart, resources: readonly Resource[], zone: string): string {
  const sure = part.high_kw - part.low_kw < IDLE_KW ? "" : words.between(...batteryRange(part.low_kw, part.high_kw));
  return words.part(who(part, resources), `${does(part)}${sure}`, whom(part), dayHour(part.until_ms, zone));
}

/** The whole of it; null where the controller has said nothing yet. */
export function purposeSentence(purpose: Purpose | null, resources: readonly Resource[], zone: string): string | null {
  if (purpose === null || purpose.as_of_ms === null) return null;
  if (purpose.parts.length === 0) return words.rest;
  const said = purpose.parts.slice(0, MOST_SAID).map((part) => partWords(part, resources, zone));
  const left = purpose.part_count - said.length;
  return words.sentence(left > 0 ? [...said, words.more(count(left))] : said);
}

/** What stands below it: how many sites serve, how many were not heard, and whether it is old. */
export function purposeNote(purpose: Purpose | null, nowMs: number): string | null {
  if (purpose === null || purpose.as_of_ms === null) return null;
  const silent = purpose.parts.reduce((sum, part) => sum + part.silent_sites, 0);
  const serving = words.serving(count(purpose.sites), count(purpose.of_sites));
  const age = duration(Math.max(0, (nowMs - purpose.as_of_ms) / 1_000));
  const sure = silent === 0 ? words.exact : words.silent(count(silent));
  return [...(purpose.sites === 0 ? [] : [serving, sure]), purpose.stale ? words.stale(age) : words.asOf(age)].join(" ");
}
