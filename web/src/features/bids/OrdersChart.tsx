/** The orders of one bid by hour: selling up, buying down, the award as a line over them. */
import { useMemo, type ReactElement } from "react";
import type { Bid } from "../../api/types";
import { POINTS_PER_STEP, asSteps } from "../../charts/shape";
import { TimeChart, type ChartSeries } from "../../charts/TimeChart";
import { price } from "../../format/money";
import { outward, powerSize, powerTick, tradedPhrase } from "../../format/power";
import { dayHour, intervalWords } from "../../format/time";
import { strings } from "../../strings";
import { DataTable } from "../../ui/DataTable";
import { limitWords, orderHours, type OrderHour } from "./orders";

const words = strings.bids;

interface Input {
  readonly bid: Bid;
  readonly title: string;
  readonly zone: string;
  readonly currency: string;
}

function awardedMeanKw({ award, startMs, endMs }: OrderHour): number | null {
  return award === null ? null : (award.energy_mwh * 1000 * 3_600_000) / (endMs - startMs);
}

export function OrdersChart({ bid, title, zone, currency }: Input): ReactElement {
  const { t, series, most, readTime } = useMemo(() => {
    const hours = orderHours(bid);
    const orNull = (mw: number): number | null => (mw > 0 ? mw * 1000 : null);
    const shaped = asSteps(
      hours.map((one) => one.startMs),
      hours.map((one) => one.endMs),
      [
        { kind: "bar", values: hours.map((one) => orNull(one.sellMw)) },
        { kind: "bar", values: hours.map((one) => outward(orNull(one.buyMw))) },
        { kind: "step", values: hours.map((one) => outward(awardedMeanKw(one))) },
      ],
    );
    const [sell = [], buy = [], award = []] = shaped.columns;
    const of = (index: number): OrderHour | undefined => hours[Math.floor(index / POINTS_PER_STEP)];
    const side = (which: "sell" | "buy") => (index: number) => {
      const hour = of(index);
      const mw = which === "sell" ? hour?.sellMw : hour?.buyMw;
      if (!hour || !mw) return words.noOrders;
      const limits = limitWords(hour.orders.filter((one) => one.side === which), currency);
      return words.orderAt(powerSize(mw * 1000), limits ?? "");
    };
    const awarded = (index: number): string => {
      const hour = of(index)?.award;
      return hour ? words.awardAt(tradedPhrase(hour.energy_mwh), price(hour.price_per_mwh, currency)) : words.awardNone;
    };
    const made: ChartSeries[] = [
      { key: "sell", label: words.sell, kind: "area", width: 1, color: "--export", values: sell, read: side("sell") },
      { key: "buy", label: words.buy, kind: "area", width: 1, color: "--import", values: buy, read: side("buy") },
      { key: "award", label: words.awarded, kind: "line", width: 2, color: "--ink", values: award, read: awarded },
    ];
    const most = hours.reduce((best, hour, i) => (hour.sellMw > (hours[best]?.sellMw ?? 0) ? i : best), 0);
    const readTime = (index: number): string => {
      const hour = of(index);
      return hour ? intervalWords(hour.startMs, hour.endMs, zone) : strings.panel.noValue;
    };
    return { t: shaped.t, series: made, most, readTime };
  }, [bid, currency, zone]);
  return (
    <TimeChart
      title={title}
      testId="orders-chart"
      t={t}
      series={series}
      zone={zone}
      tick={powerTick}
      height={190}
      readTime={readTime}
      restIndex={most * POINTS_PER_STEP + 1}
      stride={POINTS_PER_STEP}
      axisWidth={84}
    />
  );
}

export function OrdersTable({ bid, title, zone, currency }: Input): ReactElement {
  return (
    <DataTable
      long
      narrow
            caption={title}
      columns={[
        { label: words.hour },
        { label: words.side },
        { label: words.quantity, end: true },
        { label: words.limit, end: true },
        { label: words.awarded },
        { label: words.price, end: true },
      ]}
      rows={orderHours(bid).flatMap((hour) => {
        const award = hour.award ? tradedPhrase(hour.award.energy_mwh) : words.awardNone;
        const paid = hour.award ? price(hour.award.price_per_mwh, currency) : strings.panel.noValue;
        const time = dayHour(hour.startMs, zone);
        if (hour.orders.length === 0) {
          return [{ key: time, cells: [time, words.noOrders, strings.panel.noValue, strings.panel.noValue, award, paid] }];
        }
        return hour.orders.map((order, i) => ({
          key: `${hour.startMs}/${i}`,
          cells: [
            time,
            strings.direction[order.side],
            powerSize(order.quantity_mw * 1000),
            price(order.limit_price_per_mwh, currency),
            award,
            paid,
          ],
        }));
      })}
    />
  );
}
