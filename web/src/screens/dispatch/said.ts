/** Figures of dispatch in words: powers with their ranges, money, why a preview is old. Pure. */
import { amount as money } from "../../format/money";
import { count } from "../../format/number";
import { batteryPhrase, batteryRange, IDLE_KW, powerSize } from "../../format/power";
import { intervalWords } from "../../format/time";
import { strings as shared } from "../../strings";
import type { Asked, Preview } from "./records";
import { strings } from "./strings";

/** A range in words; of no width it is exact. */
export function rangeWords(lowKw: number, highKw: number): string {
  return highKw - lowKw < IDLE_KW ? strings.exact : strings.likely(...batteryRange(lowKw, highKw));
}

/** A battery power that may not be known. */
export function powerWords(kw: number | null): string {
  return kw === null ? shared.panel.noValue : batteryPhrase(kw);
}

/** What is asked of all together; null leaves it to each. */
export function askedWords(kw: number | null): string {
  return kw === null ? strings.list.each : batteryPhrase(kw);
}

/** A cost in words; positive costs, negative earns. */
export function costWords(text: string, currency: string): string {
  const value = Number(text);
  const size = money(Math.abs(value), currency);
  if (Math.abs(value) < 0.005) return strings.preview.cost.nothing;
  return value > 0 ? strings.preview.cost.amount(size) : strings.preview.cost.earns(size);
}

/** A range of costs in words, from the smaller to the larger size; one direction is said once. */
export function costRange(low: string, high: string, currency: string): string {
  const [a, b] = [Number(low), Number(high)];
  const [small, large] = Math.abs(a) <= Math.abs(b) ? [a, b] : [b, a];
  const sameWay = Math.sign(a) === Math.sign(b);
  const say = (value: number): string => (sameWay ? money(Math.abs(value), currency) : costWords(String(value), currency));
  return strings.preview.cost.range(say(small), say(large));
}

/** What would be launched, in one sentence. */
export function sentenceOf(preview: Preview, scope: string, zone: string): string {
  const words = strings.preview;
  const who = words.who(count(preview.taking_part), scope);
  const when = intervalWords(preview.start_ms, preview.end_ms, zone);
  if (Math.abs(preview.asked_kw) < IDLE_KW) return words.sentenceRest(who, when);
  return words.sentence(preview.asked_kw > 0 ? strings.form.acts.charge : strings.form.acts.discharge, powerSize(preview.asked_kw), who, when);
}

/** How many were fresh of those meant when a preview was made, and whether that has changed so much that it counts. */
export function hasShifted(was: number, is: number): boolean {
  return Math.abs(was - is) >= Math.max(2, 0.1 * was);
}

export interface Standing {
  readonly nowMs: number;
  /** How long it has been there, in real time. */
  readonly ageS: number;
  /** What the form asks now; null while something is wrong with it. */
  readonly asked: Asked | null;
  /** Fresh sites of the target, when the preview was made and now; null for not known. */
  readonly freshThen: number | null;
  readonly freshNow: number | null;
}

/** Why a preview must not be launched any more; empty while it may. */
export function whyOld(preview: Preview, askedThen: Asked, { nowMs, ageS, asked, freshThen, freshNow }: Standing): string[] {
  const words = strings.preview.old;
  const why: string[] = [];
  if (asked === null || JSON.stringify(asked) !== JSON.stringify(askedThen)) why.push(words.form);
  if (preview.kind !== "setpoint" && nowMs >= preview.start_ms) why.push(words.begun);
  if (ageS >= preview.kept_s) why.push(words.kept);
  if (freshThen !== null && freshNow !== null && hasShifted(freshThen, freshNow)) why.push(words.state(count(freshThen), count(freshNow)));
  return why;
}
