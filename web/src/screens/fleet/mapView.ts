/** From the columns of the map to marks and words. Pure. */
import type { Schema } from "../../api/client";
import { count, percent } from "../../format/number";
import { batteryPhrase } from "../../format/power";
import type { MapPoints, MarkShape } from "../../map/MapCanvas";
import { strings as shared } from "../../strings";
import type { Token } from "../../ui/tokens";
import { strings } from "./strings";

const words = strings.sites;
export type Places = Schema["MapSites"];
export type Now = Schema["MapNow"];
type Grade = Now["grades"][number];

const COLOR: Record<Grade, Token> = { fresh: "--battery", suspect: "--warn-ink", stale: "--warn-ink", unknown: "--ink-dim" };
const SHAPE: Record<Grade, MarkShape> = { fresh: "disc", suspect: "square", stale: "triangle", unknown: "triangle" };

export interface Marks {
  readonly ids: readonly string[];
  readonly lat: Float64Array;
  readonly lon: Float64Array;
}

/** Where some of the sites are; the arrays are made anew only when other sites are meant. */
export function marksOf(places: Places, rows: readonly number[]): Marks {
  return {
    ids: rows.map((row) => places.site_ids[row] ?? ""),
    lat: Float64Array.from(rows, (row) => (places.latitude_mdeg[row] ?? Number.NaN) / 1_000),
    lon: Float64Array.from(rows, (row) => (places.longitude_mdeg[row] ?? Number.NaN) / 1_000),
  };
}

export function pointsOf(marks: Marks, version: number): MapPoints {
  return { ...marks, version };
}

const gradeAt = (now: Now, at: number): Grade => now.grades[now.grade[at] ?? -1] ?? "unknown";
export const colorAt = (now: Now, at: number): Token => COLOR[gradeAt(now, at)];
export const shapeAt = (now: Now, at: number): MarkShape => SHAPE[gradeAt(now, at)];
export const alarmAt = (now: Now, at: number): boolean => (now.alarm[at] ?? -1) >= 0;

/** One site in words. */
export function describeAt(now: Now, id: string, at: number): string {
  const power = now.battery_hw[at] ?? null;
  const soc = now.soc_percent[at] ?? null;
  const severity = now.severities[now.alarm[at] ?? -1];
  return [
    id,
    words.grades[gradeAt(now, at)],
    power === null ? shared.panel.noValue : batteryPhrase(power / 10),
    ...(soc === null ? [] : [words.charged(percent(soc / 100))]),
    ...(severity === undefined ? [] : [words.underAlarm(shared.severity[severity])]),
  ].join(", ");
}

/** Several sites in words: how many count how, and how many are under an alarm. */
export function summaryOf(now: Now, rows: readonly number[]): string {
  const counts = new Map<Grade, number>();
  let alarms = 0;
  for (const at of rows) {
    const grade = gradeAt(now, at);
    counts.set(grade, (counts.get(grade) ?? 0) + 1);
    if (alarmAt(now, at)) alarms += 1;
  }
  const parts = now.grades.filter((one) => counts.has(one)).map((one) => words.gradeCount(count(counts.get(one) ?? 0), words.grades[one]));
  return [words.count(count(rows.length)), ...parts, ...(alarms > 0 ? [words.alarmCount(count(alarms))] : [])].join(", ");
}
