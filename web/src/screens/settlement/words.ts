/** What a settled day says in words. Pure. */
import type { Schema } from "../../api/client";
import { exactAmount, exactSize } from "../../format/money";
import { count } from "../../format/number";
import { energySize } from "../../format/power";
import { strings } from "./strings";

export type Day = Schema["SettlementDay"];
export type Detail = Schema["SettlementDetail"];
export type Fall = Schema["SettlementWaterfall"];

const LEAST_MWH = 5e-7;

function bothWays(outMwh: number, inMwh: number, out: (energy: string) => string, into: (energy: string) => string): string {
  const said = [outMwh < LEAST_MWH ? null : out(energySize(outMwh * 1000)), inMwh < LEAST_MWH ? null : into(energySize(inMwh * 1000))].filter((one) => one !== null);
  const [first, second] = said;
  if (first === undefined) return strings.nothing;
  return second === undefined ? first : strings.days.both(first, second);
}

/** What was awarded, either way. */
export function awardWords(day: Day): string {
  return day.awarded ? bothWays(day.sold_mwh, day.bought_mwh, strings.days.sold, strings.days.bought) : strings.unknown;
}

/** What was delivered, either way. */
export function deliveredWords(day: Day): string {
  if (day.discharged_mwh === null || day.charged_mwh === null) return strings.unknown;
  return bothWays(day.discharged_mwh, day.charged_mwh, strings.days.discharged, strings.days.charged);
}

/** How far delivery was from the award. */
export function imbalanceWords(day: Day): string {
  if (day.imbalance_mwh === null) return strings.unknown;
  return day.imbalance_mwh < LEAST_MWH ? strings.nothing : strings.days.gap(energySize(day.imbalance_mwh * 1000));
}

/** Money in whole cents, or that it is not known yet. */
export function netWords(cents: number | null, currency: string): string {
  return cents === null ? strings.unknown : exactAmount(cents, currency);
}

/** What a step does to the money, with an arrow. */
export function changeWords(cents: number, currency: string): string {
  if (cents === 0) return strings.fall.noChange;
  const size = exactSize(cents, currency);
  return cents > 0 ? strings.fall.adds(size) : strings.fall.takes(size);
}

/** How a market's money differs from one's own. */
export function differenceWords(cents: number, currency: string): string {
  if (cents === 0) return strings.disputes.even;
  const size = exactSize(cents, currency);
  return cents < 0 ? strings.disputes.tooLittle(size) : strings.disputes.tooMuch(size);
}

/** What the check of a version found; whether a person should look. */
export function checkWords(found: { disputes: number | null; disputed_cents: number | null; unchecked: number | null }, currency: string): { words: string; look: boolean } {
  if (found.disputes === null) return { words: strings.days.notChecked, look: false };
  if (found.disputes > 0) {
    const words = strings.days.differs(strings.days.line(count(found.disputes)), differenceWords(found.disputed_cents ?? 0, currency));
    return { words, look: true };
  }
  if (found.unchecked !== null && found.unchecked > 0) return { words: strings.days.unchecked(count(found.unchecked)), look: true };
  return { words: strings.days.agreed, look: false };
}

/** One bar of the waterfall: from where to where, in cents, and its words. */
export interface Bar {
  readonly key: string;
  readonly label: string;
  readonly fromCents: number;
  readonly toCents: number;
  readonly kind: "level" | "adds" | "takes" | "none";
  readonly change: string;
  readonly level: string;
}

/** The bars of a waterfall: the first level, the steps, the money. */
export function barsOf(fall: Fall): Bar[] {
  const words = strings.fall;
  const said = (cents: number): string => exactAmount(cents, fall.currency);
  let before = fall.from_cents;
  const steps = fall.steps.map((step): Bar => {
    const fromCents = before;
    before = step.level_cents;
    return {
      key: step.name,
      label: words.steps[step.name] ?? step.name,
      fromCents,
      toCents: step.level_cents,
      kind: step.amount_cents === 0 ? "none" : step.amount_cents > 0 ? "adds" : "takes",
      change: changeWords(step.amount_cents, fall.currency),
      level: said(step.level_cents),
    };
  });
  const first = words.first[fall.first] ?? fall.first;
  return [
    { key: "first", label: first, fromCents: 0, toCents: fall.from_cents, kind: "level", change: "", level: said(fall.from_cents) },
    ...steps,
    { key: "money", label: words.money, fromCents: 0, toCents: fall.to_cents, kind: "level", change: "", level: said(fall.to_cents) },
  ];
}

/** Where a bar stands between the lowest and the highest of all, as shares of the width. */
export function placesOf(bars: readonly Bar[]): { left: number; width: number }[] {
  const ends = bars.flatMap((bar) => [bar.fromCents, bar.toCents]);
  const low = Math.min(0, ...ends);
  const span = Math.max(0, ...ends) - low || 1;
  return bars.map((bar) => ({ left: (Math.min(bar.fromCents, bar.toCents) - low) / span, width: Math.abs(bar.toCents - bar.fromCents) / span }));
}
