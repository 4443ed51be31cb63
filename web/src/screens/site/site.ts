/** Shapes of the site's answers for charts and words. Pure. */
import type { Schema } from "../../api/client";
import type { Nullable } from "../../api/types";
import type { ChartSpan } from "../../charts/TimeChart";
import { percent } from "../../format/number";
import { batteryPhrase, gridPhrase, powerSize } from "../../format/power";
import { strings } from "./strings";

export type SiteNow = Schema["SiteNow"];
export type SiteHistory = Schema["SiteHistory"];
export type SiteCommands = Schema["SiteCommands"];
export type SiteAsked = Schema["SiteAsked"];
export type SiteDevice = Schema["SiteDevice"];
export type SiteSilence = Schema["SiteSilence"];

export const HOURS = ["1", "6", "24", "168", "720"] as const;
const USUAL_HOURS = "24";

/** The window that the address asks for; the usual one when it asks for none that there is. */
export function hoursOf(asked: string | undefined): string {
  return (HOURS as readonly string[]).includes(asked ?? "") ? (asked ?? USUAL_HOURS) : USUAL_HOURS;
}

/** One moment of a site. */
export interface Moment {
  readonly t: number;
  readonly values: readonly Nullable[];
}

export const COLUMNS = ["battery_kw", "solar_kw", "load_kw", "ev_kw", "grid_kw", "soc_frac"] as const;

/** The moment of the newest sample; null for a site that was never heard, or whose sample must not be drawn. */
export function momentOf(now: SiteNow): Moment | null {
  if (now.heard_ms === null || now.flags.some((one) => one.suspect)) return null;
  const kw = (name: string): Nullable => now.signals.find((one) => one.signal === name)?.power_kw ?? null;
  return { t: now.heard_ms, values: [kw("battery"), kw("solar"), kw("load"), kw("ev"), now.grid_kw, now.soc_frac] };
}

/** Put a newer moment behind those held; at most `most` of them. */
export function withMoment(held: readonly Moment[], one: Moment, most = 1_800): readonly Moment[] {
  const last = held[held.length - 1];
  if (last && one.t <= last.t) return held;
  return [...held.slice(-(most - 1)), one];
}

/** History and what came since as columns to draw: a null wherever the site was silent, live points where history ends. */
export function drawn(history: SiteHistory, live: readonly Moment[]): { t: number[]; columns: Nullable[][] } {
  const t: number[] = [];
  const columns: Nullable[][] = COLUMNS.map(() => []);
  const put = (at: number, gap: boolean, values: readonly Nullable[]): void => {
    const before = t[t.length - 1];
    if (gap && before !== undefined) {
      t.push(before + 1);
      for (const column of columns) column.push(null);
    }
    t.push(at);
    columns.forEach((column, c) => column.push(values[c] ?? null));
  };
  history.t_ms.forEach((at, i) =>
    put(
      at,
      history.gap[i] ?? false,
      COLUMNS.map((name) => history[name][i] ?? null),
    ),
  );
  const after = history.t_ms[history.t_ms.length - 1] ?? history.from_ms;
  for (const one of live) {
    const last = t[t.length - 1] ?? after;
    if (one.t > last) put(one.t, one.t - last > history.gap_after_s * 1000, one.values);
  }
  return { t, columns };
}

/** The same for what was asked against what was done. */
export function drawnCommands(commands: SiteCommands): { t: number[]; commanded: Nullable[]; measured: Nullable[] } {
  const t: number[] = [];
  const commanded: Nullable[] = [];
  const measured: Nullable[] = [];
  commands.t_ms.forEach((at, i) => {
    const before = t[t.length - 1];
    if (commands.gap[i] && before !== undefined) {
      t.push(before + 1);
      commanded.push(null);
      measured.push(null);
    }
    t.push(at);
    commanded.push(commands.commanded_kw[i] ?? null);
    measured.push(commands.measured_kw[i] ?? null);
  });
  return { t, commanded, measured };
}

/** Silences as stretches of a chart. */
export function spansOf(silences: readonly SiteSilence[]): ChartSpan[] {
  return silences.map(({ from_ms, to_ms }) => ({ fromMs: from_ms, toMs: to_ms, label: strings.telemetry.silence, color: "--ink-dim" }));
}

/** What a site does now in one sentence; null where nothing is measured. */
export function sentenceOf(now: SiteNow): string | null {
  const kw = (name: string): Nullable => now.signals.find((one) => one.signal === name)?.power_kw ?? null;
  const parts: string[] = [];
  const put = (value: Nullable, say: (value: number) => string): void => {
    if (value !== null) parts.push(say(value));
  };
  put(kw("battery"), (value) => strings.now.batteryPart(batteryPhrase(value)));
  put(kw("solar"), (value) => strings.now.solarPart(powerSize(value)));
  put(kw("load"), (value) => strings.now.loadPart(powerSize(value)));
  put(kw("ev"), (value) => strings.now.carPart(powerSize(value)));
  put(now.grid_kw, (value) => strings.now.gridPart(gridPhrase(value)));
  const said = strings.now.sentence(parts);
  return parts.length === 0 ? null : said.charAt(0).toUpperCase() + said.slice(1);
}

/** What an order asks of this site, in words. */
export function askWords(asked: Pick<SiteAsked, "kind" | "site_kw" | "all_kw" | "soc_frac">): string {
  if (asked.kind === "charge" && asked.soc_frac !== null) return strings.order.chargeTo(percent(asked.soc_frac));
  if (asked.kind === "hold" && asked.soc_frac !== null) return strings.order.holdAbove(percent(asked.soc_frac));
  if (asked.site_kw !== null) return strings.order.part(batteryPhrase(asked.site_kw));
  if (asked.all_kw !== null) return strings.order.together(batteryPhrase(asked.all_kw));
  return strings.order.kind[asked.kind] ?? asked.kind;
}

export type ProgramState = "takesPart" | "leftForNow" | "planned" | "over";

/** How an enrolment stands now. */
export function enrolmentState(one: Schema["SiteEnrolment"], optOuts: readonly Schema["SiteOptOut"][], nowMs: number): ProgramState {
  if (one.now) return optOuts.some((left) => left.program_id === one.program_id && left.now) ? "leftForNow" : "takesPart";
  return one.from_ms > nowMs ? "planned" : "over";
}
