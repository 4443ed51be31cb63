/** From the packed columns of the map to marks and words. Pure. */
import type { Schema } from "../../api/client";
import { count, percent } from "../../format/number";
import { batteryPhrase } from "../../format/power";
import type { MarkShape } from "../../map/MapCanvas";
import { NONE, unpack, unpackBits, unpackNames, unpackSteps } from "../../map/packed";
import { strings as shared } from "../../strings";
import type { Token } from "../../ui/tokens";
import { strings } from "./strings";

const words = strings.sites;
export type Places = Schema["MapSites"];
export type Now = Schema["MapNow"];
type Grade = Now["grades"][number];

const COLOR: Record<Grade, Token> = { fresh: "--battery", suspect: "--warn-ink", stale: "--warn-ink", unknown: "--ink-dim" };
const SHAPE: Record<Grade, MarkShape> = { fresh: "disc", suspect: "square", stale: "triangle", unknown: "triangle" };
/** `state` is the grade in its low four bits, and above them one more than the severity's position. */
const GRADE_BITS = 4;
const GRADE_MASK = 15;

export interface Sited {
  readonly ids: readonly string[];
  readonly lat: Float64Array;
  readonly lon: Float64Array;
}

/** Where all sites are, in the registry's order. */
export function sitedOf(places: Places): Sited {
  const degrees = (column: string): Float64Array => Float64Array.from(unpackSteps(column, places.total), (mdeg) => mdeg / 1_000);
  return { ids: unpackNames(places.site_ids), lat: degrees(places.latitude_mdeg), lon: degrees(places.longitude_mdeg) };
}

export interface Marks extends Sited {
  /** The position of each mark's site in the registry's order. */
  readonly rows: Int32Array;
}

/** The marks of the sites that a filter lets through, all of them for null. */
export function marksOf(sited: Sited, through: string | null): Marks {
  if (through === null) return { ...sited, rows: Int32Array.from(sited.ids, (_, row) => row) };
  const rows = unpackBits(through);
  return {
    rows,
    ids: Array.from(rows, (row) => sited.ids[row] ?? ""),
    lat: Float64Array.from(rows, (row) => sited.lat[row] ?? Number.NaN),
    lon: Float64Array.from(rows, (row) => sited.lon[row] ?? Number.NaN),
  };
}

/** How all sites are: the last whole answer, and what changed since written over it. */
export class SitesNow {
  /** What the last answer ends with; empty before the first. */
  mark = "";
  /** Another number whenever a site is no longer as it was. */
  changes = 0;
  grades: Now["grades"] = [];
  severities: Now["severities"] = [];
  private version = "";
  private state: Int32Array = new Int32Array(0);
  private batteryHw: Int32Array = new Int32Array(0);
  private socPercent: Int32Array = new Int32Array(0);

  take(said: Now): void {
    if (said.row !== null && said.version !== this.version) {
      this.mark = ""; // changes of sites that are not held: ask for everything
      return;
    }
    const state = unpack(said.state, said.sent);
    const batteryHw = unpack(said.battery_hw, said.sent);
    const socPercent = unpack(said.soc_percent, said.sent);
    if (said.row === null) {
      this.state = state;
      this.batteryHw = batteryHw;
      this.socPercent = socPercent;
      this.grades = said.grades;
      this.severities = said.severities;
      this.version = said.version;
    } else {
      unpackSteps(said.row, said.sent).forEach((row, at) => {
        this.state[row] = state[at]!;
        this.batteryHw[row] = batteryHw[at]!;
        this.socPercent[row] = socPercent[at]!;
      });
    }
    this.mark = said.mark;
    if (said.sent > 0) this.changes += 1;
  }

  grade(row: number): Grade {
    return this.grades[(this.state[row] ?? NONE) & GRADE_MASK] ?? "unknown";
  }

  /** The position of the severity of the alarm that stands over a site; -1 without one. */
  alarm(row: number): number {
    return ((this.state[row] ?? 0) >> GRADE_BITS) - 1;
  }

  color(row: number): Token {
    return COLOR[this.grade(row)];
  }

  shape(row: number): MarkShape {
    return SHAPE[this.grade(row)];
  }

  /** One site in words. */
  describe(id: string, row: number): string {
    const power = this.batteryHw[row] ?? NONE;
    const soc = this.socPercent[row] ?? NONE;
    const severity = this.severities[this.alarm(row)];
    return [
      id,
      words.grades[this.grade(row)],
      power === NONE ? shared.panel.noValue : batteryPhrase(power / 10),
      ...(soc === NONE ? [] : [words.charged(percent(soc / 100))]),
      ...(severity === undefined ? [] : [words.underAlarm(shared.severity[severity])]),
    ].join(", ");
  }

  /** Several sites in words: how many count how, and how many are under an alarm. */
  summary(rows: Int32Array): string {
    const counts = new Int32Array(GRADE_MASK + 1);
    let alarms = 0;
    for (const row of rows) {
      counts[(this.state[row] ?? GRADE_MASK) & GRADE_MASK]! += 1;
      if (this.alarm(row) >= 0) alarms += 1;
    }
    const parts = this.grades.flatMap((one, at) => (counts[at]! > 0 ? [words.gradeCount(count(counts[at]!), words.grades[one])] : []));
    return [words.count(count(rows.length)), ...parts, ...(alarms > 0 ? [words.alarmCount(count(alarms))] : [])].join(", ");
  }
}
