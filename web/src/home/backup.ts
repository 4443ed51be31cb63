/** From a reserve to hours of backup: energy that arrives in the home, over what the home uses. Said as a range, never as one number alone. */
import type { Schema } from "../api/client";
import { fixed } from "../format/number";
import { strings } from "./strings";

const words = strings.reserve;

export interface Backup {
  readonly usualH: number;
  /** When much is running. */
  readonly shortH: number;
  /** When little is running. */
  readonly longH: number;
}

/** The energy of a reserve, as it arrives in the home. */
export function reserveKwh(home: Pick<Schema["HomeSite"], "energy_capacity_kwh" | "stored_out_frac">, frac: number): number {
  return frac * home.energy_capacity_kwh * home.stored_out_frac;
}

/** How long an energy lasts; null where the home's use is not known. */
export function backupOf(energyKwh: number, use: Schema["HomeUse"]): Backup | null {
  if (use.usual_kw === null || use.low_kw === null || use.high_kw === null) return null;
  const last = (kw: number): number => energyKwh / Math.max(kw, 0.05);
  return { usualH: last(use.usual_kw), shortH: last(use.high_kw), longH: last(use.low_kw) };
}

/** A time as coarse as it is known: `40 minutes`, `5 hours`, `3 days`. */
export function lasting(hours: number): string {
  if (hours < 0.9) return words.minutes(fixed(Math.max(Math.round((hours * 60) / 5) * 5, 5), 0));
  if (hours < 1.25) return words.hour;
  if (hours < 4) return words.hoursLong(fixed(Math.round(hours * 2) / 2, Number.isInteger(Math.round(hours * 2) / 2) ? 0 : 1));
  if (hours < 48) return words.hoursLong(fixed(Math.round(hours), 0));
  return words.days(fixed(Math.round(hours / 24), 0));
}
