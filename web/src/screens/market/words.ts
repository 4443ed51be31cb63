/** What the market screen says of products, bids and plans. Pure. */
import type { Schema } from "../../api/client";
import { price } from "../../format/money";
import { powerSize } from "../../format/power";
import { deliveryDay } from "../../format/time";
import type { Tone } from "../../ui/Pill";
import { strings } from "./strings";

export type Product = Schema["MarketProduct"];
export type Resource = Schema["MarketResource"];
export type Row = Schema["BidRow"];
export type Detail = Schema["BidDetail"];
export type OfferOf = Schema["OfferView"];
export type OfferInterval = Schema["OfferInterval"];
export type Step = Schema["OfferStep"];
export type Point = Schema["OfferPoint"];
export type Why = Schema["PriceWhy"];
export type Diff = Schema["BidDiff"];
export type Change = Schema["BidChange"];
export type Plan = Schema["MarketPlan"];
export type Prices = Schema["MarketPrices"];
export type Manual = Schema["ManualAnswer"];

const KW = 1000;
const LEAST_MW = 5e-8;

export const STATE_TONES: Readonly<Record<Row["state"], Tone>> = {
  draft: "warn",
  submitted: "calm",
  unknown: "warn",
  accepted: "calm",
  rejected: "bad",
  superseded: "calm",
  withdrawn: "calm",
};

/** Whether a person has to do something about how a bid is approved. */
export function approvalTone(approval: Row["approval"]): Tone {
  return approval === "wanted" || approval === "second wanted" ? "warn" : approval === "refused" ? "bad" : "calm";
}

/** A power in MW as it is offered, without a sign. */
export function megawatts(mw: number): string {
  return powerSize(mw * KW);
}

/** A power in MW that charges when positive, in words. */
export function signedMegawatts(mw: number): string {
  if (Math.abs(mw) < LEAST_MW) return strings.offers.nothing;
  return `${mw > 0 ? strings.manual.directions.charge : strings.manual.directions.discharge} ${megawatts(mw)}`;
}

/** A price with its unit: of energy per MWh, of a service per MW and hour. */
export function priceFor(kind: OfferOf["kind"], value: number, currency: string): string {
  const said = price(value, currency);
  return kind === "energy" ? said : said.replace("/MWh", "/MW/h");
}

/** The gate that closes next: the first that is open. */
export function nextGate(products: readonly Product[]): Product | null {
  return products.reduce<Product | null>((best, one) => (one.state === "open" && (best === null || one.gate_ms < best.gate_ms) ? one : best), null);
}

/** The delivery day that is bid for next, else the newest there is. */
export function usualDay(products: readonly Product[]): string | undefined {
  return nextGate(products)?.delivery_date ?? products.reduce<string | undefined>((best, one) => (best === undefined || one.delivery_date > best ? one.delivery_date : best), undefined);
}

/** Who made a bid: a person, or the plant by one of its ways. */
export function authorWords(row: Pick<Row, "author" | "rung">): string {
  if (row.author !== "") return strings.bids.byHand(row.author);
  return row.rung === "" ? strings.machine : strings.bids.rung(row.rung.replaceAll(/[-_]/g, " "));
}

/** Where a price comes from: what was kept for the step, then what the optimiser knows of the interval. */
export function whyWords(step: Pick<Step, "why"> | null, why: Why | null, currency: string): string {
  const words = strings.offers;
  const said: string[] = [];
  if (step !== null && step.why !== "") said.push(/[.!?]$/.test(step.why) ? step.why : `${step.why}.`);
  if (why !== null) {
    said.push(words.expected(price(why.expected_price_per_mwh, currency)));
    if (why.marginal_value_per_mwh !== null) said.push(words.worth(price(why.marginal_value_per_mwh, currency)));
    if (why.flips_at_per_mwh !== null && why.would !== null) said.push(words.flip(strings.plan.actions[why.would], price(why.flips_at_per_mwh, currency)));
    if (why.binding.length > 0) said.push(words.limits(why.binding.join(", ")));
  }
  return said.length === 0 ? words.noWhy : said.join(" ");
}

/** The power that an interval offers each way, in MW, none of it negative. */
export function offeredOf(one: OfferInterval): { sellMw: number; buyMw: number; holdMw: number } {
  const of = (side: Step["side"]): number => one.steps.reduce((sum, step) => sum + (step.side === side ? step.quantity_mw : 0), 0);
  const ends = [...one.points.map((point) => point.power_mw), ...(one.power_mw === null ? [] : [one.power_mw])];
  return {
    sellMw: of("sell") + Math.max(0, ...ends.map((mw) => -mw)),
    buyMw: of("buy") + Math.max(0, ...ends),
    holdMw: of("hold"),
  };
}

/** What an interval is offered at: `sells at or above $45.10/MWh: 30.0 MW`, one line for each price. */
export function linesOf(kind: OfferOf["kind"], content: { readonly steps: readonly Step[]; readonly points: readonly Point[]; readonly powerMw: number | null }, currency: string): string[] {
  const words = strings.offers;
  const steps = content.steps.map((step) => words.step(words.sides[step.side], priceFor(kind, step.price_per_mwh, currency), megawatts(step.quantity_mw)));
  const points = content.points.map((point) => words.point(signedMegawatts(point.power_mw), price(point.price_per_mwh, currency)));
  return [...steps, ...points, ...(content.powerMw === null ? [] : [words.load(signedMegawatts(content.powerMw))])];
}

/** The lowest and the highest price of an interval, in words; null without any. */
export function priceSpan(kind: OfferOf["kind"], one: OfferInterval, currency: string): string | null {
  const prices = [...one.steps, ...one.points].map((each) => each.price_per_mwh);
  if (prices.length === 0) return null;
  const [low, high] = [priceFor(kind, Math.min(...prices), currency), priceFor(kind, Math.max(...prices), currency)];
  return low === high ? low : strings.prices.range(low, high);
}

/** One piece of the curve of an interval: how much power, from where, at which price. Selling to the right, buying to the left. */
export interface Piece {
  readonly key: string;
  readonly fromMw: number;
  readonly toMw: number;
  readonly fromPrice: number;
  readonly toPrice: number;
}

/** An interval as one curve over power: steps added up from nothing outward, or the points joined. Right is selling. */
export function piecesOf(one: OfferInterval): Piece[] {
  const stacked = (side: Step["side"], sign: 1 | -1): Piece[] => {
    let reached = 0;
    return one.steps
      .map((step, i) => ({ step, i }))
      .filter(({ step }) => step.side === side)
      .sort((a, b) => sign * (a.step.price_per_mwh - b.step.price_per_mwh))
      .map(({ step, i }) => {
        const fromMw = reached;
        reached += sign * step.quantity_mw;
        return { key: `s${i}`, fromMw, toMw: reached, fromPrice: step.price_per_mwh, toPrice: step.price_per_mwh };
      });
  };
  const joined = one.points.slice(1).map((point, i) => {
    const before = one.points[i] ?? point;
    return { key: `p${i + 1}`, fromMw: -before.power_mw, toMw: -point.power_mw, fromPrice: before.price_per_mwh, toPrice: point.price_per_mwh };
  });
  return [...stacked("buy", -1), ...stacked("sell", 1), ...stacked("hold", 1), ...joined];
}

/** How often the price fell into the wide band, of the intervals that are paid and were forecast. */
export function coveredOf(prices: Pick<Prices, "actual" | "q05" | "q95">): { inside: number; all: number } {
  let [inside, all] = [0, 0];
  prices.actual.forEach((actual, i) => {
    const [low, high] = [prices.q05[i], prices.q95[i]];
    if (actual == null || low == null || high == null) return;
    all += 1;
    if (actual >= low && actual <= high) inside += 1;
  });
  return { inside, all };
}

/** The newest of some instants; null without any. */
export function newest(instants: readonly (number | null)[]): number | null {
  return instants.reduce<number | null>((best, one) => (one !== null && (best === null || one > best) ? one : best), null);
}

/** A delivery day and a product in a few words. */
export function productDay(product: Pick<Product, "name" | "delivery_date">): string {
  return strings.next.of(product.name, deliveryDay(product.delivery_date));
}

/** How far the price is from where the plan would do something else. */
export function distanceWords(expected: number, flip: number, currency: string): string {
  const away = flip - expected;
  const said = price(Math.abs(away), currency);
  return away < 0 ? strings.plan.lower(said) : strings.plan.higher(said);
}
