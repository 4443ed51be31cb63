/** What forecasts and their scores say in words. Pure. */
import type { Schema } from "../../api/client";
import { marketName } from "../../format/market";
import { price } from "../../format/money";
import { fixed, percent } from "../../format/number";
import { strings } from "./strings";

export type Series = Schema["ForecastSeries"];
export type Scores = Schema["ForecastScores"];
export type Coverage = Schema["ForecastCoverage"];
export type Contest = Schema["ForecastContest"];
export type Total = Schema["ScoreTotal"];

const LEAST_SKILL = 0.005;
const OURS = "shoal ";

/** What a forecast is of, as people say it. */
export function seriesName(one: Series): string {
  if (one.kind === "price") return strings.choose.price(one.place, marketName(one.market_id));
  if (one.kind === "load") return strings.choose.load(one.place, marketName(one.market_id));
  return strings.choose.other(one.kind, one.place);
}

/** Who makes it, without the name of the program. */
export function modelName(model: string): string {
  if (model === "") return strings.unknown;
  return model.startsWith(OURS) ? model.slice(OURS.length) : model;
}

/** A number of the series with its unit. */
export function inUnit(value: number, of: { readonly currency: string; readonly unit: string }): string {
  if (of.currency !== "" && of.unit === `${of.currency}/MWh`) return price(value, of.currency);
  return `${fixed(value, Math.abs(value) >= 100 ? 0 : 2)} ${of.unit}`.trim();
}

export function daysWords(n: number): string {
  return strings.total.days(fixed(n, 0));
}

/** How sure the mean error is. */
export function sureWords(total: Total, of: { readonly currency: string; readonly unit: string }): string {
  if (total.mae_low === null || total.mae_high === null) return strings.total.few(daysWords(total.days));
  return strings.total.range(inUnit(total.mae_low, of), inUnit(total.mae_high, of));
}

/** How much better than the naive forecast. */
export function skillWords(skill: number | null): string {
  if (skill === null) return strings.total.noNaive;
  if (Math.abs(skill) < LEAST_SKILL) return strings.total.even;
  return skill > 0 ? strings.total.better(percent(skill)) : strings.total.worse(percent(-skill));
}

export function biasWords(bias: number | null, of: { readonly currency: string; readonly unit: string }): string {
  if (bias === null) return strings.unknown;
  if (Math.abs(bias) < 0.005) return strings.total.straight;
  return bias > 0 ? strings.total.high(inUnit(bias, of)) : strings.total.low(inUnit(-bias, of));
}

/** A p-value as it is written: never nothing at all. */
export function pWords(p: number): string {
  return strings.contests.pAtMost(p < 0.001 ? "0.001" : fixed(p, 3));
}

/** A part of the range of a forecast. */
export function partWords(from: number, to: number): string {
  if (from <= 0) return strings.pit.below(percent(to));
  if (to >= 1) return strings.pit.above(percent(from));
  return strings.pit.within(percent(from), percent(to));
}
