/** The one sentence: what the plant is doing now, and for whom. Pure. */
import type { LiveState, Resource } from "../../api/types";
import { marketName } from "../../format/market";
import { price } from "../../format/money";
import { count } from "../../format/number";
import { IDLE_KW, powerSize, tradePhrase } from "../../format/power";
import { strings } from "../../strings";

/** The mean power that the market awarded for the present hour, in kW, load-positive. */
export function awardedKw(resource: Resource): number {
  const hours = (resource.hour_end_ms - resource.hour_start_ms) / 3_600_000;
  return hours > 0 ? (resource.award_mwh * 1000) / hours : 0;
}

function priceNow(state: Pick<LiveState, "prices" | "money">, resource: Resource): number | null {
  const series = state.prices.find((one) => one.settlement_point === resource.settlement_point);
  const index = series?.start_ms.indexOf(resource.hour_start_ms) ?? -1;
  return index < 0 ? null : (series?.actual[index] ?? null);
}

type Input = Pick<LiveState, "resources" | "prices" | "money">;

/** Say what the plant sells or buys now. Resources that go opposite ways are named one by one. */
export function sentence(state: Input): string {
  const { resources } = state;
  const [first] = resources;
  if (!first) return strings.sentence.none;
  const market = marketName(first.market_id);
  const active = resources.filter((one) => Math.abs(awardedKw(one)) >= IDLE_KW);
  if (active.length === 0) return strings.sentence.idle(market);
  const total = active.reduce((sum, one) => sum + one.measured_kw, 0);
  const selling = total < 0;
  const say = selling ? strings.sentence.selling : strings.sentence.buying;
  const prices = new Set(active.map((one) => priceNow(state, one)));
  const [only] = prices;
  const at = prices.size === 1 && typeof only === "number" ? strings.sentence.at(price(only, state.money.currency)) : "";
  const opposed = active.some((one) => one.measured_kw < -IDLE_KW) && active.some((one) => one.measured_kw > IDLE_KW);
  const parts = active.map((one) => {
    const name = resourceNoun(one);
    return opposed
      ? strings.sentence.partOpposed(tradePhrase(one.measured_kw), name)
      : strings.sentence.part(powerSize(one.measured_kw), name);
  });
  return `${say(powerSize(total), market)}${at}${active.length > 1 || resources.length > 1 ? strings.sentence.parts(parts) : ""}`;
}

/** How a resource is spoken of within a sentence. */
function resourceNoun(resource: Resource): string {
  return resource.name.toLowerCase() === resource.name.toUpperCase() ? resource.name : lowerFirst(resource.name);
}

function lowerFirst(text: string): string {
  // "Homes" becomes "homes"; "ERCOT West" stays.
  const [a = "", b = ""] = text;
  return b !== "" && b === b.toLowerCase() ? a.toLowerCase() + text.slice(1) : text;
}

/** Who the plant is: `1,000 homes and one big battery, run as one power plant`; what has a number is called by its name. */
export function composition(resources: readonly Resource[]): string | null {
  if (resources.length === 0) return null;
  const homes = resources.filter((one) => one.sites > 1);
  const single = resources.filter((one) => one.sites <= 1);
  const parts = [...homes.map((one) => strings.homes(count(one.sites))), ...single.map((one) => (/\d$/.test(one.name) ? one.name : strings.oneSite(lowerFirst(one.name))))];
  const text = strings.composition(parts);
  return text.charAt(0).toUpperCase() + text.slice(1);
}
