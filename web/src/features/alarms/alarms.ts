/** What an alarm says, in words and shapes. Pure. */
import type { Alarm, Severity } from "../../api/types";
import { codeWords } from "../../format/market";
import { count, fixed } from "../../format/number";
import { strings } from "../../strings";

const words = strings.alarms;

/** What is wrong. */
export function what(alarm: Pick<Alarm, "kind">): string {
  return words.kindWords[alarm.kind] ?? codeWords(alarm.kind);
}

/** How much of the subject is concerned. */
export function extent(alarm: Alarm): string {
  if (alarm.returned_ms !== null) return words.returned;
  if (alarm.scope === "part") return alarm.value === null ? "" : measured(alarm.value, alarm.detail);
  const where = sitesOf(alarm);
  return alarm.value === null ? where : words.lost(count(alarm.value), where);
}

function sitesOf(alarm: Alarm): string {
  if (alarm.scope === "site") return words.oneSite;
  const say = alarm.detail === "scattered" ? words.scattered : words.sitesOf;
  return say(count(alarm.sites), count(alarm.of_sites));
}

/** A measure of a part; a share of something reads as a number with two decimals. */
function measured(value: number, unit: string): string {
  return words.measured(fixed(value, unit === "s" ? 0 : 2), unit);
}

/** Order for reading: what nobody has taken note of first, then the worst, then the latest. */
export function inOrder(alarms: readonly Alarm[]): Alarm[] {
  const order: Severity[] = ["critical", "major", "warning", "notice"];
  const key = (one: Alarm): number[] => [one.acknowledged_ms === null ? 0 : 1, order.indexOf(one.severity), -one.raised_ms, -one.number];
  return [...alarms].sort((a, b) => {
    const [left, right] = [key(a), key(b)];
    const at = left.findIndex((value, i) => value !== right[i]);
    return at < 0 ? 0 : (left[at] ?? 0) - (right[at] ?? 0);
  });
}
