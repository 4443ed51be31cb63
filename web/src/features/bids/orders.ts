/** Orders by hour, for the chart and the summary. Pure; quantities are MW and carry no sign, the side says the way. */
import type { AwardedInterval, Bid, Order } from "../../api/types";
import { price } from "../../format/money";
import { energySize } from "../../format/power";
import { strings } from "../../strings";

export interface OrderHour {
  readonly startMs: number;
  readonly endMs: number;
  readonly sellMw: number;
  readonly buyMw: number;
  readonly orders: readonly Order[];
  readonly award: AwardedInterval | null;
}

/** Gather orders and awards by interval, in order of time. */
export function orderHours(bid: Pick<Bid, "orders" | "award">): OrderHour[] {
  const starts = new Map<number, { endMs: number; orders: Order[]; award: AwardedInterval | null }>();
  for (const award of bid.award ?? []) starts.set(award.start_ms, { endMs: award.end_ms, orders: [], award });
  for (const order of bid.orders) {
    const held = starts.get(order.start_ms);
    if (held) held.orders.push(order);
    else starts.set(order.start_ms, { endMs: order.end_ms, orders: [order], award: null });
  }
  const sum = (orders: readonly Order[], side: Order["side"]): number =>
    orders.reduce((total, one) => total + (one.side === side ? one.quantity_mw : 0), 0);
  return [...starts]
    .sort(([a], [b]) => a - b)
    .map(([startMs, { endMs, orders, award }]) => ({
      startMs,
      endMs,
      sellMw: sum(orders, "sell"),
      buyMw: sum(orders, "buy"),
      orders: [...orders].sort((a, b) => a.limit_price_per_mwh - b.limit_price_per_mwh),
      award,
    }));
}

/** One line for a table: `sell 30.0 MWh, buy 32.0 MWh`. */
export function ordersSummary(orders: readonly Order[]): string {
  const parts = (["sell", "buy"] as const).flatMap((side) => {
    const ours = orders.filter((one) => one.side === side && one.quantity_mw > 0);
    if (ours.length === 0) return [];
    const mwh = ours.reduce((sum, one) => sum + (one.quantity_mw * (one.end_ms - one.start_ms)) / 3_600_000, 0);
    return [strings.bids.part(strings.direction[side], energySize(mwh * 1000))];
  });
  return parts.length === 0 ? strings.bids.noOrders : strings.bids.summary(parts);
}

/** The limit prices of an hour: `$20.00/MWh to $45.10/MWh`, or the one there is. */
export function limitWords(orders: readonly Order[], currency: string): string | null {
  const [low, high] = [orders.at(0), orders.at(-1)];
  if (!low || !high) return null;
  const from = price(low.limit_price_per_mwh, currency);
  const to = price(high.limit_price_per_mwh, currency);
  return from === to ? from : strings.bids.limitRange(from, to);
}

/** Energy of an award in the two directions, in MWh, neither negative. */
export function awardTotals(award: readonly AwardedInterval[]): { soldMwh: number; boughtMwh: number } {
  let [soldMwh, boughtMwh] = [0, 0];
  for (const { energy_mwh: mwh } of award) {
    if (mwh < 0) soldMwh -= mwh;
    else boughtMwh += mwh;
  }
  return { soldMwh, boughtMwh };
}
