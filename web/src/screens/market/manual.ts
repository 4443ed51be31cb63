/** A bid as a person writes it: the form, what is sent of it, and where each objection belongs. Pure. */
import type { Schema } from "../../api/client";
import { strings } from "./strings";
import type { OfferInterval, OfferOf } from "./words";

export type Rules = Schema["MarketDayRules"];
export type RuleProduct = Schema["RuleProduct"];
export type Problem = Schema["ManualProblem"];
export type Side = "buy" | "sell";
export type Way = "charge" | "discharge";
export type Shape = "orders" | "storage_curves" | "bands" | "load_target";

const BANDS = 10;
const SHAPES: readonly Shape[] = ["orders", "bands", "storage_curves", "load_target"];

/** One price of the form, as it was typed. */
export interface FormRow {
  readonly side: Side;
  readonly mw: string;
  readonly price: string;
}

export interface Form {
  readonly productId: string;
  readonly firstMs: number;
  readonly lastMs: number;
  readonly bandSide: "gen" | "load";
  readonly rows: readonly FormRow[];
  readonly loadWay: Way;
  readonly loadMw: string;
  readonly expectWay: Way;
  readonly expectMw: string;
  readonly category: string;
  readonly reason: string;
}

/** Where an objection is shown: a field of the form, or above it. */
export type Place = "form" | "first" | "reason" | "category" | "expect" | "load" | `row-${number}-mw` | `row-${number}-price`;
export type Faults = ReadonlyMap<Place, readonly string[]>;

/** The shape that the form writes for a product; null for one that it cannot. */
export function shapeOf(product: RuleProduct): Shape | null {
  return SHAPES.find((one) => product.shapes.includes(one)) ?? null;
}

/** The intervals that can still be bid for. */
export function openStarts(product: RuleProduct): number[] {
  return product.start_ms.filter((_, i) => product.open[i]);
}

/** The products that can still be bid for, here. */
export function openProducts(rules: Rules): RuleProduct[] {
  return rules.products.filter((one) => one.open.some(Boolean));
}

function standingAt(rules: Rules, form: Pick<Form, "productId" | "firstMs" | "bandSide">): { offer: OfferOf; one: OfferInterval } | null {
  for (const offer of rules.standing) {
    if (offer.product !== form.productId || (offer.side !== "" && offer.side !== form.bandSide)) continue;
    const one = offer.intervals.find((each) => each.start_ms === form.firstMs);
    if (one) return { offer, one };
  }
  return null;
}

const text = (value: number): string => String(Number(value.toFixed(6)));

/** The rows of what stands in the first interval, else one or ten empty ones. */
export function rowsFor(rules: Rules, product: RuleProduct, form: Pick<Form, "productId" | "firstMs" | "bandSide">): FormRow[] {
  const shape = shapeOf(product);
  const held = standingAt(rules, form);
  const side: Side = form.bandSide === "load" ? "buy" : "sell";
  if (shape === "bands") {
    const prices = held?.offer.band_prices_per_mwh ?? [];
    const steps = held?.one.steps ?? [];
    return Array.from({ length: BANDS }, (_, i) => {
      const price = prices[i];
      const mw = steps.filter((step) => step.price_per_mwh === price).reduce((sum, step) => sum + step.quantity_mw, 0);
      return { side, mw: text(mw), price: price === undefined ? "" : text(price) };
    });
  }
  if (shape === "storage_curves") {
    const points = held?.one.points ?? [];
    const rows = points.map((one): FormRow => ({ side: one.power_mw > 0 ? "buy" : "sell", mw: text(Math.abs(one.power_mw)), price: text(one.price_per_mwh) }));
    return rows.length > 0 ? rows : [{ side: "buy", mw: "", price: "" }, { side: "sell", mw: "", price: "" }];
  }
  const rows = (held?.one.steps ?? []).map((one): FormRow => ({ side: one.side === "buy" ? "buy" : "sell", mw: text(one.quantity_mw), price: text(one.price_per_mwh) }));
  return rows.length > 0 ? rows : [{ side: "sell", mw: "", price: "" }];
}

/** The form that a trader begins with: the first product that is open, its first interval, what stands in it. */
export function firstForm(rules: Rules, product: RuleProduct): Form {
  const firstMs = openStarts(product)[0] ?? 0;
  const begun = { productId: product.product_id, firstMs, bandSide: "gen" as const };
  return { ...begun, lastMs: firstMs, rows: rowsFor(rules, product, begun), loadWay: "charge", loadMw: "", expectWay: "discharge", expectMw: "", category: rules.reason_categories[0] ?? "financial", reason: "" };
}

/** Whether the price decides which way it goes, so that the plant has to be told what to plan around. */
export function needsExpectation(product: RuleProduct, form: Form): boolean {
  if (product.kind !== "energy") return false;
  const shape = shapeOf(product);
  if (shape === "storage_curves") return true;
  return shape === "orders" && new Set(form.rows.map((one) => one.side)).size > 1;
}

/** What was typed as a number; null when it is none. */
export function numberOf(typed: string): number | null {
  const cleaned = typed.trim().replace(/\u2212/g, "-").replace(",", ".");
  if (cleaned === "") return null;
  const value = Number(cleaned);
  return Number.isFinite(value) ? value : null;
}

type Body = Schema["ManualBody"];

/** What is sent of a form, or what is not a number or missing in it. */
export function bodyOf(rules: Rules, product: RuleProduct, form: Form): { readonly body: Body } | { readonly faults: Faults } {
  const words = strings.manual;
  const faults = new Map<Place, string[]>();
  const number = (typed: string, place: Place): number => {
    const value = numberOf(typed);
    if (value === null) faults.set(place, [words.needNumber]);
    return value ?? 0;
  };
  const shape = shapeOf(product) ?? "orders";
  const rows = shape === "load_target" ? [] : form.rows.map((one, i) => ({ side: one.side, mw: number(one.mw, `row-${i}-mw`), price: number(one.price, `row-${i}-price`) }));
  const load = shape === "load_target" ? number(form.loadMw, "load") : 0;
  const expects = needsExpectation(product, form);
  const expected = expects ? number(form.expectMw, "expect") : 0;
  if (form.reason.trim() === "") faults.set("reason", [words.needReason]);
  if (form.lastMs < form.firstMs) faults.set("first", [words.needOrder]);
  if (faults.size > 0) return { faults };
  const spans = product.start_ms.flatMap((start_ms, i) => (start_ms >= form.firstMs && start_ms <= form.lastMs ? [{ start_ms, end_ms: product.end_ms[i] ?? start_ms }] : []));
  const content = {
    orders: { orders: rows.map((one) => ({ side: one.side, quantity_mw: one.mw, price_per_mwh: one.price })) },
    storage_curves: { points: rows.map((one) => ({ power_mw: one.side === "buy" ? one.mw : -one.mw, price_per_mwh: one.price })) },
    bands: { band_mw: rows.map((one) => one.mw), max_avail_mw: rows.reduce((sum, one) => sum + one.mw, 0) },
    load_target: { power_mw: form.loadWay === "charge" ? load : -load },
  }[shape];
  const offer = {
    product: product.product_id,
    shape,
    ...(shape === "bands" ? { side: form.bandSide, band_prices_per_mwh: rows.map((one) => one.price) } : {}),
    intervals: spans.map((span) => ({ ...span, ...content })),
  };
  const sign = form.expectWay === "charge" ? 1 : -1;
  const body = {
    resource_id: rules.resource_id,
    delivery_date: rules.delivery_date,
    reason: form.reason.trim(),
    category: form.category,
    offers: [offer],
    ...(expects ? { power: spans.map((span) => ({ ...span, power_kw: sign * expected * 1000 })) } : {}),
  };
  // what a shape does not have is left out; the types know of no defaults
  return { body: body as unknown as Body };
}

const ROW_LISTS = ["orders", "points", "steps", "band_mw", "band_avail_mw", "band_prices_per_mwh", "band_price_per_mwh"];

/** Where an objection of the market belongs, by the path of its field. */
export function placeOf(field: string, rows: number): Place {
  const names = [...field.matchAll(/([a-z_]+)(?:\[(\d+)\])?/g)].map(([, name = "", index]) => ({ name, index: index === undefined ? null : Number(index) }));
  const last = names.at(-1)?.name ?? "";
  if (names[0]?.name === "power" || names[0]?.name === "fixed") return "expect";
  if (last === "reason" || last === "category") return last;
  const listed = names.findLast((one) => ROW_LISTS.includes(one.name) && one.index !== null);
  // without the interval in the path, the orders of all intervals are counted through
  const row = listed?.index == null || rows === 0 ? null : listed.index % rows;
  if (row !== null && last.includes("price")) return `row-${row}-price`;
  if (row !== null && (last.endsWith("_mw") || last.includes("quantity"))) return `row-${row}-mw`;
  if (rows === 0 && (last === "power_mw" || last === "load_mw")) return "load";
  if (last.startsWith("start") || last.startsWith("end")) return "first";
  return "form";
}

/** The market's objections by where they belong; one that holds of every interval is said once. */
export function faultsOf(problems: readonly Problem[], rows: number): Faults {
  const faults = new Map<Place, string[]>();
  for (const { field, value, fix } of problems) {
    const place = placeOf(field, rows);
    const said = place === "form" ? `${field} ${strings.manual.problem(value, fix)}` : strings.manual.problem(value, fix);
    const held = faults.get(place) ?? [];
    if (!held.includes(said)) faults.set(place, [...held, said]);
  }
  return faults;
}
