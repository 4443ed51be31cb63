/** Was it delivered: the meters' energy as bars against the award as a line, hour by hour. */
import { useMemo, type ReactElement } from "react";
import type { Delivery } from "../../api/types";
import { POINTS_PER_STEP, asSteps, endsOf } from "../../charts/shape";
import { TimeChart, type ChartMark, type ChartSeries } from "../../charts/TimeChart";
import { deliveredGap, energyTick, outward, tradedPhrase } from "../../format/power";
import { dayHour, intervalWords } from "../../format/time";
import { useLivePart } from "../../live/store";
import { strings } from "../../strings";
import { DataTable } from "../../ui/DataTable";
import { Panel } from "../../ui/Panel";

const words = strings.delivery;

interface Input {
  readonly held: Delivery;
  readonly zone: string;
}

function DeliveryChart({ held, zone }: Input): ReactElement {
  const nowMs = useLivePart("now_ms") ?? 0;
  const { t, series, readTime } = useMemo(() => {
    // An hour of nothing is not drawn as a bar of height nothing.
    const bar = held.delivered_mwh.map((mwh) => (mwh === 0 ? null : outward(mwh)));
    const ends = endsOf(held.start_ms);
    const shaped = asSteps(held.start_ms, ends, [
      { kind: "bar", values: bar },
      { kind: "step", values: held.award_mwh.map(outward) },
    ]);
    const [delivered = [], awarded = []] = shaped.columns;
    const read = (values: readonly (number | null)[]) => (index: number) => {
      const value = values[Math.floor(index / POINTS_PER_STEP)];
      return value == null ? words.open : tradedPhrase(value);
    };
    const made: ChartSeries[] = [
      { key: "delivered", label: words.delivered, kind: "area", width: 1, color: "--battery", values: delivered, read: read(held.delivered_mwh) },
      { key: "awarded", label: words.awarded, kind: "line", width: 2, color: "--ink", values: awarded, read: read(held.award_mwh) },
    ];
    const readTime = (index: number): string => {
      const i = Math.floor(index / POINTS_PER_STEP);
      return intervalWords(held.start_ms[i] ?? 0, ends[i] ?? 0, zone);
    };
    return { t: shaped.t, series: made, readTime };
  }, [held, zone]);
  const marks: ChartMark[] = [{ atMs: nowMs, label: strings.price.now }];
  const present = held.start_ms.findLastIndex((start) => start <= nowMs);
  return (
    <TimeChart
      title={words.title}
      testId="delivery-chart"
      t={t}
      series={series}
      marks={marks}
      zone={zone}
      tick={energyTick}
      readTime={readTime}
      restIndex={Math.max(present, 0) * POINTS_PER_STEP + 1}
      stride={POINTS_PER_STEP}
      axisWidth={88}
    />
  );
}

function DeliveryTable({ held, zone }: Input): ReactElement {
  return (
    <DataTable
      long
      narrow
            caption={words.title}
      columns={[{ label: words.hour }, { label: words.awarded }, { label: words.delivered }, { label: words.difference }]}
      rows={held.start_ms
        .map((start, i) => {
          const award = held.award_mwh[i] ?? 0;
          const delivered = held.delivered_mwh[i] ?? null;
          return {
            key: String(start),
            cells: [
              dayHour(start, zone),
              tradedPhrase(award),
              delivered === null ? words.open : tradedPhrase(delivered),
              delivered === null ? words.open : deliveredGap(award, delivered),
            ],
          };
        })
        .reverse()}
    />
  );
}

export function DeliveryPanel({ resourceId }: { resourceId: string | null }): ReactElement {
  const delivery = useLivePart("delivery") ?? [];
  const zone = useLivePart("zone") ?? "UTC";
  const held = delivery.find((one) => one.resource_id === resourceId);
  const some = held !== undefined && held.start_ms.length > 0;
  return (
    <Panel
      title={words.title}
      hint={words.hint}
      testId="delivery"
      empty={some ? null : words.empty}
      table={() => (held ? <DeliveryTable held={held} zone={zone} /> : null)}
    >
      {() => (held ? <DeliveryChart key={held.resource_id} held={held} zone={zone} /> : null)}
    </Panel>
  );
}
