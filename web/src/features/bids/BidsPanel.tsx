/** The bids of the last days, with the rung each one took and why; one of them drawn hour by hour. */
import { useState, type ReactElement, type ReactNode } from "react";
import type { Bid, BidStatus } from "../../api/types";
import { codeWords } from "../../format/market";
import { energySize } from "../../format/power";
import { dayHour, deliveryDay } from "../../format/time";
import { useLivePart } from "../../live/store";
import { strings } from "../../strings";
import { DataTable, PickButton, Sub } from "../../ui/DataTable";
import { Panel } from "../../ui/Panel";
import { Pill, type Tone } from "../../ui/Pill";
import { awardTotals, ordersSummary } from "./orders";
import { OrdersChart, OrdersTable } from "./OrdersChart";
import classes from "../../ui/ui.module.css";

const words = strings.bids;
const TONES: Record<BidStatus, Tone> = { building: "calm", submitted: "calm", accepted: "calm", rejected: "bad", unknown: "warn" };

const COLUMNS = [
  { label: words.day },
  { label: words.status },
  { label: words.rung },
  { label: words.orders },
  { label: words.award },
];

const keyOf = (bid: Bid): string => `${bid.delivery_date}/${bid.resource_id}`;

function awardCell(bid: Bid): ReactNode {
  if (bid.award === null) return words.awardNone;
  const { soldMwh, boughtMwh } = awardTotals(bid.award);
  const parts: string[] = [];
  if (soldMwh > 0) parts.push(`${strings.direction.sold} ${energySize(soldMwh * 1000)}`);
  if (boughtMwh > 0) parts.push(`${strings.direction.bought} ${energySize(boughtMwh * 1000)}`);
  return parts.length > 0 ? words.summary(parts) : words.awardNothing;
}

/** The bid to draw while nobody has chosen: the chosen resource's latest. */
function usual(bids: readonly Bid[], resourceId: string | null): Bid | undefined {
  const ours = bids.filter((bid) => bid.resource_id === resourceId && bid.orders.length > 0);
  return ours.reduce<Bid | undefined>((best, bid) => (best && best.delivery_date >= bid.delivery_date ? best : bid), undefined);
}

export function BidsPanel({ resourceId }: { resourceId: string | null }): ReactElement {
  const bids = useLivePart("bids") ?? [];
  const resources = useLivePart("resources") ?? [];
  const zone = useLivePart("zone") ?? "UTC";
  const currency = useLivePart("money")?.currency ?? "USD";
  const [picked, setPicked] = useState<string | null>(null);
  const [pickedFor, setPickedFor] = useState(resourceId);
  if (pickedFor !== resourceId) {
    // Another resource was chosen above: show its latest bid.
    setPickedFor(resourceId);
    setPicked(null);
  }
  const nameOf = (id: string): string => resources.find((one) => one.resource_id === id)?.name ?? id;
  const shown = bids.find((bid) => keyOf(bid) === picked) ?? usual(bids, resourceId);
  const title = shown ? words.chart(nameOf(shown.resource_id), deliveryDay(shown.delivery_date)) : words.title;
  const ordered = [...bids].sort((a, b) => b.delivery_date.localeCompare(a.delivery_date));

  const list = (): ReactElement => (
    <DataTable
      caption={words.title}
      columns={COLUMNS}
      rows={ordered.map((bid) => ({
        key: keyOf(bid),
        picked: bid === shown,
        cells: [
          <div key="day">
            <PickButton pressed={bid === shown} label={words.show(nameOf(bid.resource_id), deliveryDay(bid.delivery_date))} onPick={() => setPicked(keyOf(bid))}>
              {deliveryDay(bid.delivery_date)}
            </PickButton>
            <Sub>{nameOf(bid.resource_id)}</Sub>
          </div>,
          <div key="status">
            <Pill tone={TONES[bid.status]}>{words.statusWords[bid.status]}</Pill>
            {bid.submitted_ms === null ? null : <Sub>{words.submitted(dayHour(bid.submitted_ms, zone))}</Sub>}
          </div>,
          <div key="rung">
            {codeWords(bid.rung)}
            {bid.rung_reason ? <Sub>{bid.rung_reason}</Sub> : null}
          </div>,
          ordersSummary(bid.orders),
          awardCell(bid),
        ],
      }))}
    />
  );
  const drawn = (make: (bid: Bid) => ReactElement): ReactElement => (
    <>
      {list()}
      {shown ? (
        <>
          <h3 className={classes["subtitle"]}>{title}</h3>
          {make(shown)}
        </>
      ) : null}
    </>
  );
  return (
    <Panel
      title={words.title}
      hint={words.hint}
      testId="bids"
      empty={bids.length === 0 ? words.empty : null}
      table={() => drawn((bid) => <OrdersTable bid={bid} title={title} zone={zone} currency={currency} />)}
    >
      {() => drawn((bid) => <OrdersChart key={keyOf(bid)} bid={bid} title={title} zone={zone} currency={currency} />)}
    </Panel>
  );
}
