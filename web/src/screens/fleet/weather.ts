/** What a weather alert says, in words. Pure. */
import type { AlertNow, AlertSeverity } from "../../api/types";
import { count } from "../../format/number";
import { energySize, powerSize } from "../../format/power";
import { dayHour } from "../../format/time";
import { strings } from "../../strings";
import type { Tone } from "../../ui/Pill";

const words = strings.weather;

export const TONES: Record<AlertSeverity, Tone> = { extreme: "bad", severe: "warn", moderate: "calm", minor: "calm", unknown: "calm" };

/** What is expected, and when: an alert that has begun says only when it ends. */
export function title(alert: AlertNow, nowMs: number, zone: string): string {
  const end = dayHour(alert.until_ms, zone);
  const begun = alert.from_ms === null || alert.from_ms <= nowMs;
  return words.line(alert.event || words.unnamed, begun ? words.until(end) : words.span(dayHour(alert.from_ms ?? 0, zone), end));
}

/** What of the fleet is inside. */
export function inside(alert: AlertNow): string {
  const size = [powerSize(alert.discharge_kw), energySize(alert.capacity_kwh)] as const;
  return alert.sites === 1 ? words.oneSite(...size) : words.sites(count(alert.sites), ...size);
}
