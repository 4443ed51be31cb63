/** One settled day: the way of its money, its intervals, what it is made of, its versions, what differs, who receives it. */
import { useMemo, type ReactElement } from "react";
import { useApi } from "../../api/queries";
import { links } from "../../app/links";
import { ScreenLink } from "../../app/nav";
import { asSteps, POINTS_PER_STEP } from "../../charts/shape";
import { TimeChart, type ChartSeries } from "../../charts/TimeChart";
import { exactAmount, price } from "../../format/money";
import { count } from "../../format/number";
import { deliveredGap, energySize, energyTick, outward, tradedPhrase } from "../../format/power";
import { intervalWords } from "../../format/time";
import layout from "../../ui/layout.module.css";
import { DataTable, Sub } from "../../ui/DataTable";
import { Instant, Interval } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { stateOfQuery, type PanelState } from "../../ui/panelState";
import { Check } from "./DaysPanel";
import { DayFiles } from "./Files";
import { refusedAsEmpty } from "./refused";
import classes from "./settlement.module.css";
import { strings } from "./strings";
import { WaterfallPanel } from "./WaterfallPanel";
import { changeWords, checkWords, differenceWords, netWords, type Detail } from "./words";

interface Held {
  readonly state: PanelState;
  readonly detail: Detail | undefined;
  readonly onRetry: () => void;
}

function DeliveryChart({ detail }: { detail: Detail }): ReactElement {
  const words = strings.delivery;
  const { intervals, zone } = detail;
  const { t, series, readTime } = useMemo(() => {
    const shaped = asSteps(intervals.start_ms, intervals.end_ms, [
      { kind: "bar", values: intervals.delivered_mwh.map((mwh) => (mwh === 0 ? null : outward(mwh))) },
      { kind: "step", values: intervals.award_mwh.map(outward) },
    ]);
    const [delivered = [], awarded = []] = shaped.columns;
    const read = (values: readonly (number | null)[]) => (index: number) => {
      const value = values[Math.floor(index / POINTS_PER_STEP)];
      return value == null ? strings.unknown : tradedPhrase(value);
    };
    const made: ChartSeries[] = [
      { key: "delivered", label: words.delivered, kind: "area", width: 1, color: "--battery", values: delivered, read: read(intervals.delivered_mwh) },
      { key: "awarded", label: words.awarded, kind: "line", width: 2, color: "--ink", values: awarded, read: read(intervals.award_mwh) },
    ];
    const readTime = (index: number): string => {
      const i = Math.floor(index / POINTS_PER_STEP);
      return intervalWords(intervals.start_ms[i] ?? 0, intervals.end_ms[i] ?? 0, zone);
    };
    return { t: shaped.t, series: made, readTime };
  }, [intervals, zone, words]);
  return (
    <TimeChart
      title={words.title}
      testId="settlement-delivery-chart"
      t={t}
      series={series}
      zone={zone}
      tick={energyTick}
      readTime={readTime}
      restIndex={1}
      stride={POINTS_PER_STEP}
      axisWidth={88}
    />
  );
}

function IntervalsTable({ detail }: { detail: Detail }): ReactElement {
  const words = strings.delivery;
  const { intervals, zone, day } = detail;
  return (
    <DataTable
      long
      caption={words.caption}
      columns={[
        { label: words.interval },
        { label: words.awarded },
        { label: words.delivered },
        { label: words.difference },
        { label: words.price, end: true },
        { label: words.net, end: true },
        { label: words.reading },
      ]}
      rows={intervals.start_ms.map((start, i) => {
        const award = intervals.award_mwh[i] ?? null;
        const delivered = intervals.delivered_mwh[i] ?? null;
        const perMwh = intervals.price_per_mwh[i] ?? null;
        const net = intervals.net_amount[i] ?? null;
        const estimated = intervals.estimated[i] ?? false;
        return {
          key: String(start),
          cells: [
            <Interval key="at" startMs={start} endMs={intervals.end_ms[i] ?? start} zone={zone} />,
            award === null ? strings.unknown : tradedPhrase(award),
            delivered === null ? strings.unknown : tradedPhrase(delivered),
            award === null || delivered === null ? strings.unknown : deliveredGap(award, delivered),
            perMwh === null ? strings.unknown : price(perMwh, day.currency),
            net === null ? strings.unknown : exactAmount(Math.round(Number(net) * 100), day.currency),
            delivered === null ? strings.unknown : estimated ? words.estimated : words.metered,
          ],
        };
      })}
    />
  );
}

function DeliveryPanel({ state, detail, onRetry }: Held): ReactElement {
  const words = strings.delivery;
  const some = detail && [...detail.intervals.award_mwh, ...detail.intervals.delivered_mwh].some((one) => one !== null);
  return (
    <Panel
      title={words.title}
      hint={words.hint}
      testId="settlement-delivery"
      state={state}
      empty={detail && !some ? words.empty : null}
      onRetry={onRetry}
      actions={detail && some ? <DayFiles resourceId={detail.day.resource_id} day={detail.day.delivery_date} what="intervals" /> : null}
      table={() => (detail ? <IntervalsTable detail={detail} /> : null)}
    >
      {() => (detail ? <DeliveryChart key={detail.day.delivery_date} detail={detail} /> : null)}
    </Panel>
  );
}

function PartsPanel({ state, detail, onRetry }: Held): ReactElement {
  const words = strings.parts;
  const empty = detail?.parts.length === 0;
  return (
    <Panel
      title={words.title}
      hint={words.hint}
      testId="settlement-parts"
      state={state}
      empty={empty ? words.empty : null}
      onRetry={onRetry}
      actions={detail && !empty ? <DayFiles resourceId={detail.day.resource_id} day={detail.day.delivery_date} what="lines" /> : null}
    >
      {() =>
        detail ? (
          <DataTable
            narrow
            caption={words.title}
            columns={[{ label: words.kind }, { label: words.product }, { label: words.lines, end: true }, { label: words.net, end: true }]}
            rows={[
              ...detail.parts.map((part) => ({
                key: `${part.product}/${part.kind}`,
                cells: [words.kinds[part.kind] ?? part.kind, part.product, count(part.lines), exactAmount(part.net_cents, detail.day.currency)],
              })),
              { key: "total", cells: [<strong key="all">{words.total}</strong>, "", "", <strong key="net">{netWords(detail.day.net_cents, detail.day.currency)}</strong>] },
            ]}
          />
        ) : null
      }
    </Panel>
  );
}

function VersionsPanel({ state, detail, onRetry }: Held): ReactElement {
  const words = strings.versions;
  const first = detail?.versions.at(-1)?.version;
  return (
    <Panel title={words.title} hint={words.hint} testId="settlement-versions" state={state} empty={detail?.versions.length === 0 ? words.empty : null} onRetry={onRetry} actions={detail ? <ScreenLink to={links.runs({ resource: detail.day.resource_id, day: detail.day.delivery_date })}>{words.runs}</ScreenLink> : null}>
      {() =>
        detail ? (
          <DataTable
            caption={words.title}
            columns={[
              { label: words.version },
              { label: words.issued },
              { label: words.net, end: true },
              { label: words.change, end: true },
              { label: words.changed, end: true },
              { label: words.check },
            ]}
            rows={detail.versions.map((one) => ({
              key: String(one.version),
              cells: [
                strings.days.version(detail.day.settled_by === "plant" ? strings.days.ours : one.run, count(one.version)),
                <Instant key="at" ms={one.issued_ms} zone={detail.zone} />,
                exactAmount(one.net_cents, detail.day.currency),
                one.version === first ? words.first : changeWords(one.step_cents, detail.day.currency),
                count(one.changed_intervals),
                <Check key="check" found={one} currency={detail.day.currency} />,
              ],
            }))}
          />
        ) : null
      }
    </Panel>
  );
}

function DisputesPanel({ state, detail, onRetry }: Held): ReactElement {
  const words = strings.disputes;
  const currency = detail?.day.currency ?? "USD";
  const nothing = detail && detail.disputes.length + detail.gaps.length === 0;
  const empty = nothing ? (detail.day.disputes === null ? words.notChecked : words.none) : null;
  const side = (mwh: number, perMwh: number): string => words.at(energySize(mwh * 1000), price(perMwh, currency));
  return (
    <Panel title={words.title} hint={words.hint} testId="settlement-disputes" state={state} empty={empty} onRetry={onRetry}>
      {() =>
        detail ? (
          <>
            <p className={classes["note"]}>{checkWords(detail.day, currency).words}</p>
            <DataTable
              long
              caption={words.title}
              columns={[{ label: words.interval }, { label: words.line }, { label: words.market }, { label: words.own }, { label: words.amount, end: true }]}
              rows={[
                ...detail.disputes.map((one) => ({
                  key: `${one.start_ms}/${one.product}/${one.kind}`,
                  cells: [
                    <Interval key="at" startMs={one.start_ms} endMs={one.end_ms} zone={detail.zone} />,
                    <>
                      {strings.parts.kinds[one.kind] ?? one.kind}
                      <Sub>{one.product}</Sub>
                    </>,
                    side(one.market_mwh, one.market_price_per_mwh),
                    side(one.own_mwh, one.own_price_per_mwh),
                    differenceWords(one.amount_cents, currency),
                  ],
                })),
                ...detail.gaps.map((one) => ({
                  key: `gap/${one.start_ms}`,
                  cells: [<Interval key="at" startMs={one.start_ms} endMs={one.end_ms} zone={detail.zone} />, words.gap, "", one.why, ""],
                })),
              ]}
            />
            {detail.disputes.length < (detail.day.disputes ?? 0) ? <p className={classes["note"]}>{words.shown(count(detail.disputes.length), count(detail.day.disputes ?? 0))}</p> : null}
          </>
        ) : null
      }
    </Panel>
  );
}

function SharesPanel({ state, detail, onRetry }: Held): ReactElement {
  const words = strings.shares;
  const shares = detail?.shares ?? null;
  const currency = detail?.day.currency ?? "USD";
  return (
    <Panel
      title={words.title}
      hint={words.hint}
      testId="settlement-shares"
      state={state}
      empty={detail && shares === null ? words.empty : null}
      onRetry={onRetry}
      actions={detail && shares ? <DayFiles resourceId={detail.day.resource_id} day={detail.day.delivery_date} what="shares" /> : null}
    >
      {() =>
        shares ? (
          <>
            <DataTable
              narrow
              caption={words.title}
              columns={[{ label: words.who }, { label: words.amount, end: true }]}
              rows={[
                { key: "homes", cells: [words.homes(count(shares.homes)), exactAmount(shares.homes_cents, currency)] },
                { key: "operator", cells: [words.operator, exactAmount(shares.operator_cents, currency)] },
              ]}
            />
            {shares.largest.length < 2 ? null : (
              <DataTable
                long
                narrow
                caption={words.largest(count(shares.largest.length))}
                columns={[{ label: words.largest(count(shares.largest.length)) }, { label: words.amount, end: true }]}
                rows={shares.largest.map((one) => ({ key: one.site_id, cells: [one.site_id, exactAmount(one.amount_cents, currency)] }))}
              />
            )}
          </>
        ) : null
      }
    </Panel>
  );
}

export function DayPanels({ resourceId, day }: { resourceId: string; day: string }): ReactElement {
  const query = useApi("/api/settlement/{resource_id}/{day}", { path: { resource_id: resourceId, day } }, { everyMs: 60_000 });
  const held: Held = { state: refusedAsEmpty(query.error) ?? stateOfQuery(query), detail: query.data, onRetry: () => void query.refetch() };
  return (
    <>
      <WaterfallPanel resourceId={resourceId} day={day} />
      <DeliveryPanel {...held} />
      <div className={layout["pair"]}>
        <PartsPanel {...held} />
        <VersionsPanel {...held} />
      </div>
      <div className={layout["pair"]}>
        <DisputesPanel {...held} />
        <SharesPanel {...held} />
      </div>
    </>
  );
}
