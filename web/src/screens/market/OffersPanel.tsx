/** What a bid offers: each product by interval, and of one interval its bands or curve with the reason of each price. */
import { Tooltip } from "@mantine/core";
import { useMemo, useState, type ReactElement } from "react";
import { ChartTable } from "../../charts/ChartPanel";
import { asSteps, POINTS_PER_STEP } from "../../charts/shape";
import { TimeChart, type ChartSeries, type TimeChartProps } from "../../charts/TimeChart";
import { powerTick } from "../../format/power";
import { intervalWords } from "../../format/time";
import { strings as shared } from "../../strings";
import { Button } from "../../ui/Button";
import { DataTable } from "../../ui/DataTable";
import { Panel } from "../../ui/Panel";
import type { PanelState } from "../../ui/panelState";
import classes from "./market.module.css";
import { OfferCurve } from "./OfferCurve";
import { strings } from "./strings";
import { count } from "../../format/number";
import { linesOf, megawatts, offeredOf, priceFor, priceSpan, signedMegawatts, whyWords, type Detail, type OfferInterval, type OfferOf } from "./words";

const words = strings.offers;
const KW = 1000;

interface OfferInput {
  readonly detail: Detail;
  readonly offer: OfferOf;
  /** Why a person made it; empty for the plant's own. */
  readonly reason: string;
}

function useOfferChart({ detail, offer }: Omit<OfferInput, "reason">): TimeChartProps {
  const { zone, currency } = detail;
  return useMemo(() => {
    const { intervals } = offer;
    const offered = intervals.map(offeredOf);
    const awards = new Map((detail.award?.quantities ?? []).filter((one) => one.product === offer.product).map((one) => [one.start_ms, one] as const));
    const some = (mw: number, sign: number): number | null => (mw > 0 ? sign * mw * KW : null);
    const shaped = asSteps(
      intervals.map((one) => one.start_ms),
      intervals.map((one) => one.end_ms),
      [
        { kind: "bar", values: offered.map((one) => some(one.sellMw, 1)) },
        { kind: "bar", values: offered.map((one) => some(one.buyMw, -1)) },
        { kind: "bar", values: offered.map((one) => some(one.holdMw, 1)) },
        {
          kind: "step",
          values: intervals.map((one) => {
            const award = awards.get(one.start_ms);
            return award === undefined ? null : (offer.kind === "energy" ? -1 : 1) * award.power_mw * KW;
          }),
        },
      ],
    );
    const of = (index: number): number => Math.floor(index / POINTS_PER_STEP);
    const size = (pick: (one: ReturnType<typeof offeredOf>) => number) => (index: number) => {
      const one = offered[of(index)];
      return one === undefined || pick(one) === 0 ? words.nothing : megawatts(pick(one));
    };
    const [sell = [], buy = [], hold = [], award = []] = shaped.columns;
    const every: (ChartSeries & { readonly always?: boolean })[] = [
      { key: "sell", label: words.sell, kind: "area", width: 1, color: "--export", values: sell, read: size((one) => one.sellMw) },
      { key: "buy", label: words.buy, kind: "area", width: 1, color: "--import", values: buy, read: size((one) => one.buyMw) },
      { key: "hold", label: words.hold, kind: "area", width: 1, color: "--plan", values: hold, read: size((one) => one.holdMw) },
      {
        key: "award",
        label: words.awarded,
        kind: "line",
        width: 2,
        color: "--ink",
        values: award,
        always: true,
        read: (index) => {
          const found = awards.get(intervals[of(index)]?.start_ms ?? 0);
          if (found === undefined) return words.notAwarded;
          const power = offer.kind === "energy" ? signedMegawatts(found.power_mw) : megawatts(found.power_mw);
          return words.awardAt(power, priceFor(offer.kind, found.price_per_mwh, currency));
        },
      },
      {
        key: "prices",
        label: words.prices,
        kind: "edge",
        color: "--ink-dim",
        values: shaped.t.map(() => null),
        always: true,
        read: (index) => {
          const one = intervals[of(index)];
          return one === undefined ? null : priceSpan(offer.kind, one, currency);
        },
      },
    ];
    const most = offered.reduce((best, one, i) => (one.sellMw + one.buyMw + one.holdMw > (offered[best]?.sellMw ?? 0) + (offered[best]?.buyMw ?? 0) + (offered[best]?.holdMw ?? 0) ? i : best), 0);
    return {
      title: words.chart(offer.name),
      testId: "offer-chart",
      t: shaped.t,
      series: every.filter((one) => one.always === true || one.values.some((value) => value !== null)),
      zone,
      tick: powerTick,
      height: 190,
      axisWidth: 84,
      restIndex: most * POINTS_PER_STEP + 1,
      stride: POINTS_PER_STEP,
      readTime: (index) => {
        const one = intervals[of(index)];
        return one === undefined ? shared.panel.noValue : intervalWords(one.start_ms, one.end_ms, zone);
      },
    };
  }, [detail, offer, zone, currency]);
}

/** Where a price comes from; one that a person set says who and why. */
function reasonOf({ detail, reason }: OfferInput, step: { why: string } | null, interval: OfferInterval): string {
  if (detail.bid.author !== "") return words.byHand(detail.bid.author, reason);
  return whyWords(step, interval.why, detail.currency);
}

interface Told {
  readonly key: string;
  readonly says: string;
  readonly why: string;
}

function pricesOf(input: OfferInput, one: OfferInterval): Told[] {
  const { detail, offer } = input;
  const { currency } = detail;
  const steps = one.steps.map((step, i) => ({ key: `s${i}`, says: linesOf(offer.kind, { steps: [step], points: [], powerMw: null }, currency)[0] ?? "", why: reasonOf(input, step, one) }));
  const points = one.points.map((point, i) => ({ key: `p${i}`, says: linesOf(offer.kind, { steps: [], points: [point], powerMw: null }, currency)[0] ?? "", why: reasonOf(input, null, one) }));
  const load = one.power_mw === null ? [] : [{ key: "load", says: words.load(signedMegawatts(one.power_mw)), why: reasonOf(input, null, one) }];
  return [...steps, ...points, ...load];
}

function IntervalPrices(input: OfferInput): ReactElement | null {
  const { detail, offer } = input;
  const [chosenMs, setChosenMs] = useState<number | null>(null);
  const [told, setTold] = useState<string | null>(null);
  const { intervals } = offer;
  const priced = intervals.findIndex((one) => one.steps.length + one.points.length > 0);
  const found = intervals.findIndex((one) => one.start_ms === chosenMs);
  const at = found >= 0 ? found : Math.max(priced, 0);
  const one = intervals[at];
  if (one === undefined) return null;
  const said = intervalWords(one.start_ms, one.end_ms, detail.zone);
  const go = (by: number) => (): void => {
    const next = intervals[at + by];
    if (next) setChosenMs(next.start_ms);
  };
  const prices = pricesOf(input, one);
  return (
    <>
      <div className={classes["pickers"]}>
        <label className={classes["field"]}>
          {words.choose}
          <select value={one.start_ms} onChange={(event) => setChosenMs(Number(event.target.value))}>
            {intervals.map((each) => (
              <option key={each.start_ms} value={each.start_ms}>
                {intervalWords(each.start_ms, each.end_ms, detail.zone)}
              </option>
            ))}
          </select>
        </label>
        <div className={classes["buttons"]}>
          <Button onClick={go(-1)} disabled={at === 0}>
            {words.earlier}
          </Button>
          <Button onClick={go(1)} disabled={at >= intervals.length - 1}>
            {words.later}
          </Button>
        </div>
      </div>
      <div className={classes["interval"]} data-testid="offer-interval">
        <OfferCurve one={one} told={told} title={words.at(said)} kind={offer.kind} currency={detail.currency} />
        <div>
          {prices.length === 0 ? <p className={classes["note"]}>{words.nothing}</p> : null}
          <ul className={classes["steps"]} aria-label={words.at(said)}>
            {prices.map((each) => (
              <li key={each.key}>
                <Tooltip label={each.why} multiline w={320} events={{ hover: true, focus: true, touch: true }}>
                  <button type="button" onMouseEnter={() => setTold(each.key)} onMouseLeave={() => setTold(null)} onFocus={() => setTold(each.key)} onBlur={() => setTold(null)}>
                    {each.says}
                  </button>
                </Tooltip>
              </li>
            ))}
          </ul>
          {one.max_avail_mw === null ? null : <p className={classes["note"]}>{words.most(megawatts(one.max_avail_mw))}</p>}
          {one.trapezium === null ? null : (
            <p className={classes["note"]}>
              {words.capacity(megawatts(one.trapezium.enablement_min_mw), megawatts(one.trapezium.low_breakpoint_mw), megawatts(one.trapezium.high_breakpoint_mw), megawatts(one.trapezium.enablement_max_mw))}
            </p>
          )}
        </div>
      </div>
    </>
  );
}

function PricesTable(input: OfferInput): ReactElement {
  const { detail, offer } = input;
  return (
    <DataTable
      long
      caption={words.chart(offer.name)}
      columns={[{ label: words.interval }, { label: words.price }, { label: words.why }]}
      rows={offer.intervals.flatMap((one) => {
        const interval = intervalWords(one.start_ms, one.end_ms, detail.zone);
        const prices = pricesOf(input, one);
        if (prices.length === 0) return [{ key: String(one.start_ms), cells: [interval, words.nothing, reasonOf(input, null, one)] }];
        return prices.map((each) => ({ key: `${one.start_ms} ${each.key}`, cells: [interval, each.says, each.why] }));
      })}
    />
  );
}

function Blocks({ detail, offer }: Omit<OfferInput, "reason">): ReactElement {
  return (
    <DataTable
      long
      caption={words.blocks}
      columns={[{ label: words.blocks }, { label: words.interval }, { label: words.price }, { label: words.least, end: true }, { label: words.after }, { label: words.group }]}
      rows={offer.blocks.map((one) => ({
        key: one.block_id,
        cells: [
          words.block(one.block_id),
          one.start_ms.map((start, i) => `${intervalWords(start, one.end_ms[i] ?? start, detail.zone)}: ${megawatts(one.quantity_mw[i] ?? 0)}`).join("; "),
          `${words.sides[one.side]} ${priceFor(offer.kind, one.limit_price_per_mwh, detail.currency)}`,
          `${count(one.minimum_acceptance_frac * 100)} %`,
          one.parent_id === "" ? words.nothing : one.parent_id,
          one.exclusive_group === "" ? words.nothing : one.exclusive_group,
        ],
      }))}
    />
  );
}

function Drawn(input: OfferInput): ReactElement {
  const { detail, offer } = input;
  const chart = useOfferChart({ detail, offer });
  if (offer.blocks.length > 0) return <Blocks detail={detail} offer={offer} />;
  return (
    <>
      <TimeChart {...chart} />
      <IntervalPrices {...input} />
    </>
  );
}

function Tabled(input: OfferInput): ReactElement {
  const { detail, offer } = input;
  const chart = useOfferChart({ detail, offer });
  if (offer.blocks.length > 0) return <Blocks detail={detail} offer={offer} />;
  return (
    <>
      <ChartTable chart={chart} />
      <PricesTable {...input} />
    </>
  );
}

export interface OffersPanelProps {
  readonly detail: Detail | undefined;
  readonly state: PanelState;
  readonly revision: number;
  readonly reason: string;
}

export function OffersPanel({ detail, state, revision, reason }: OffersPanelProps): ReactElement {
  const [wanted, setWanted] = useState(0);
  const offers = detail?.offers ?? [];
  const at = Math.min(wanted, Math.max(offers.length - 1, 0));
  const offer = offers[at];
  const nameOf = (one: OfferOf): string => (one.side === "" ? one.name : strings.next.of(one.name, strings.manual.bandSides[one.side]));
  return (
    <Panel
      title={words.title(count(revision))}
      hint={words.hint}
      testId="market-offers"
      state={detail === undefined && state.kind === "ready" ? { kind: "loading" } : state}
      empty={detail !== undefined && offer === undefined ? words.empty : null}
      table={() => (detail && offer ? <Tabled detail={detail} offer={offer} reason={reason} /> : null)}
    >
      {() =>
        detail && offer ? (
          <>
            {offers.length < 2 ? null : (
              <label className={classes["field"]}>
                {words.product}
                <select value={at} onChange={(event) => setWanted(Number(event.target.value))}>
                  {offers.map((one, i) => (
                    <option key={`${one.product} ${one.side}`} value={i}>
                      {nameOf(one)}
                    </option>
                  ))}
                </select>
              </label>
            )}
            <Drawn key={`${detail.bid.key} ${offer.product} ${offer.side}`} detail={detail} offer={offer} reason={reason} />
          </>
        ) : null
      }
    </Panel>
  );
}
