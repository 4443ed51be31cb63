/** What an operator asks for: its fields, what is wrong with them and how to put it right, and the order that they make. Pure. */
import type { Schema } from "../../api/client";
import type { Group } from "../../api/types";
import { duration } from "../../format/time";
import type { Asked } from "./records";
import { strings } from "./strings";
import { localText, msOfLocal, nextQuarter, QUARTER_MS } from "./when";

const words = strings.form.fault;

/** From now on; at a time that devices are told ahead; groups deliver, and others step in for who leaves. */
export const WAYS = ["now", "ahead", "deliver"] as const;
export type Way = (typeof WAYS)[number];
export const ACTS = ["discharge", "charge", "rest"] as const;
export type Act = (typeof ACTS)[number];
export type Program = Schema["ProgramNow"];

export interface Form {
  readonly group: string;
  readonly way: Way;
  readonly act: Act;
  readonly power: string;
  /** Whether somebody has given the power; until then it follows the group's headroom. */
  readonly powerGiven: boolean;
  readonly start: string;
  readonly minutes: string;
  readonly program: string;
  readonly mayOptOut: boolean;
  readonly reason: string;
}

export type Field = "group" | "power" | "start" | "minutes" | "program" | "reason";
export type Faults = Partial<Record<Field, string>>;

/** The group that is meant: one of the plant's, the whole fleet, or why it is neither. */
export type Target = { readonly kind: "group"; readonly group: Group } | { readonly kind: "fleet" } | { readonly kind: "none"; readonly fault: string };

export interface Around {
  readonly nowMs: number;
  readonly zone: string;
  readonly programs: readonly Program[];
  readonly target: Target;
}

export const MOST_MINUTES = 14 * 24 * 60;
const MOST_KW = 1e9;
const USUAL_MINUTES = 60;

/** Programs under which power can be asked for. */
export function powerPrograms(programs: readonly Program[]): Program[] {
  return programs.filter((one) => one.kind === "power");
}

/** Which program is meant when nobody has chosen: emergencies now, peaks ahead, else the first there is. */
export function usualProgram(way: Way, programs: readonly Program[]): string {
  const ids = powerPrograms(programs).map((one) => one.program_id);
  const wished = way === "ahead" ? "peak" : "emergency";
  return ids.includes(wished) ? wished : (ids[0] ?? "");
}

/** When it begins if nobody says otherwise: the first quarter of an hour that keeps the program's notice. */
export function usualStart(nowMs: number, noticeS: number): number {
  return nextQuarter(nowMs + noticeS * 1_000 + 60_000);
}

export function emptyForm(group: string): Form {
  return { group, way: "now", act: "discharge", power: "", powerGiven: false, start: "", minutes: String(USUAL_MINUTES), program: "", mayOptOut: true, reason: "" };
}

/** What to ask of a group if nobody says otherwise: what it can be counted on for, a little rounded down. */
export function usualPower(act: Act, group: Group | null): string {
  if (group === null || act === "rest") return "";
  const firm = act === "discharge" ? group.firm_discharge_kw : group.firm_charge_kw;
  if (!(firm >= 0.1)) return "";
  return firm >= 10 ? String(Math.floor(firm)) : (Math.floor(firm * 10) / 10).toFixed(1);
}

/** Find the group that a text means among those that the plant found for it. */
export function targetOf(text: string, found: readonly Group[] | undefined): Target {
  const wanted = text.trim();
  if (wanted === "") return { kind: "none", fault: words.groupMissing };
  if (wanted.toLowerCase() === strings.form.wholeFleet.toLowerCase()) return { kind: "fleet" };
  const byId = found?.find((one) => one.group_id === wanted);
  if (byId) return { kind: "group", group: byId };
  const byName = (found ?? []).filter((one) => one.name.toLowerCase() === wanted.toLowerCase());
  if (byName.length === 1 && byName[0]) return { kind: "group", group: byName[0] };
  return { kind: "none", fault: byName.length > 1 ? words.groupTwice(byName.map((one) => one.group_id).join(", ")) : words.groupUnknown(wanted) };
}

function numberOf(text: string): number {
  const plain = text.trim().replace(",", ".");
  return /^\d+(\.\d+)?$/.test(plain) ? Number(plain) : Number.NaN;
}

/** Everything that is wrong with a form, each with what to do about it. */
export function faultsOfForm(form: Form, { nowMs, zone, programs, target }: Around): Faults {
  const faults: Faults = {};
  if (target.kind === "none") faults.group = target.fault;
  if (form.way === "deliver" && target.kind === "fleet") faults.group = words.groupDeliver;
  const power = numberOf(form.power);
  if (form.act !== "rest" && !(power > 0 && power < MOST_KW)) faults.power = form.power.trim() === "" ? words.powerMissing : words.power;
  const minutes = numberOf(form.minutes);
  if (!(minutes >= 1 && minutes <= MOST_MINUTES)) faults.minutes = words.minutes;
  const program = programs.find((one) => one.program_id === form.program);
  if (!program) faults.program = words.program;
  if (form.way === "now") return faults;
  const startMs = msOfLocal(form.start, zone);
  const noticeS = program?.minimum_notice_s ?? 0;
  if (startMs === null) faults.start = form.start === "" ? words.startMissing : words.startNever;
  else if (startMs <= nowMs) faults.start = words.startPast(localText(nowMs, zone).slice(11));
  else if (startMs < nowMs + noticeS * 1_000) {
    faults.start = words.startNotice(program?.name ?? form.program, duration(noticeS), localText(usualStart(nowMs, noticeS), zone).slice(11));
  } else if (form.way === "deliver" && startMs % QUARTER_MS !== 0) faults.start = words.startQuarter;
  if (form.way === "deliver" && faults.minutes === undefined && minutes % 15 !== 0) faults.minutes = words.minutesQuarter;
  return faults;
}

/** What is sent to be previewed and launched, of a form without faults. */
export function askedOf(form: Form, { zone, target }: Pick<Around, "zone" | "target">): Asked {
  const minutes = numberOf(form.minutes);
  const power = numberOf(form.power);
  const scope = { sites: [], groups: target.kind === "group" ? [target.group.group_id] : [], fleet: target.kind === "fleet" };
  const powers = form.act === "rest" ? {} : form.act === "charge" ? { charge_kw: power } : { discharge_kw: power };
  const said = { program: form.program, reason: form.reason.trim(), preview: "" };
  if (form.way === "now") return { setpoint: { ...scope, ...powers, ...said, minutes } };
  const startMs = msOfLocal(form.start, zone) ?? 0;
  if (form.way === "deliver") {
    const targets = target.kind === "group" ? [{ group: target.group.group_id, power_kw: power }] : [];
    return { call: { ...said, targets, start_ms: startMs, end_ms: startMs + minutes * 60_000, feeds_in: true, measure: "battery", price_per_mwh: 0, owner_share_permille: 800, currency: "USD" } };
  }
  return { event: { ...scope, ...powers, ...said, kind: form.act === "rest" ? "hold" : "power", start_ms: startMs, minutes, each: false, soc_frac: 0, solar_only: false, may_opt_out: form.mayOptOut } };
}

const FIELD_OF: Record<string, Field> = {
  groups: "group", group: "group", scope: "group", targets: "group", target: "power", charge_kw: "power", discharge_kw: "power", power_kw: "power", power: "power",
  who: "group", start: "start", start_ms: "start", window: "start", minutes: "minutes", end: "minutes", end_ms: "minutes", program: "program", reason: "reason",
};

/** At which field a refusal of the plant is shown; null for none of them. */
export function fieldOf(name: string | null): Field | null {
  const last = name?.split(".").at(-1) ?? "";
  return FIELD_OF[last] ?? null;
}
