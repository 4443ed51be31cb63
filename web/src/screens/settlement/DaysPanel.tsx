/** The days of a resource: award, delivery, imbalance, net, and what the check found. */
import type { ReactElement } from "react";
import type { Schema } from "../../api/client";
import { useApi } from "../../api/queries";
import { exactAmount } from "../../format/money";
import { count } from "../../format/number";
import { deliveryDay } from "../../format/time";
import { DataTable, PickButton, Sub } from "../../ui/DataTable";
import { Figure } from "../../ui/figures";
import { Panel } from "../../ui/Panel";
import { stateOfQuery } from "../../ui/panelState";
import { Pill } from "../../ui/Pill";
import { Files } from "./Files";
import { refusedAsEmpty } from "./refused";
import classes from "./settlement.module.css";
import { strings } from "./strings";
import { awardWords, checkWords, deliveredWords, imbalanceWords, netWords, type Day } from "./words";

const words = strings.days;
const ASK_MS = 60_000;
/** The name that the plant's own statement has among the runs. */
const OWN_RUN = "own statement";

function SettledAs({ day }: { day: Day }): ReactElement {
  return (
    <>
      <Pill tone={day.status === "provisional" ? "warn" : "calm"}>{words.status[day.status]}</Pill>
      {day.version === 0 ? null : <Sub>{words.version(day.run === OWN_RUN ? words.ours : day.run, count(day.version))}</Sub>}
      {day.estimated_intervals === 0 ? null : <Sub>{words.estimated(count(day.estimated_intervals), count(day.intervals))}</Sub>}
    </>
  );
}

export function Check({ found, currency }: { found: Parameters<typeof checkWords>[0]; currency: string }): ReactElement {
  const check = checkWords(found, currency);
  return check.look ? <Pill tone="warn">{check.words}</Pill> : <>{check.words}</>;
}

function DaysTable({ page, chosen, onChoose }: { page: Schema["SettlementDays"]; chosen: string; onChoose: (day: string) => void }): ReactElement {
  return (
    <DataTable
      long
      caption={words.title(page.resource_id)}
      columns={[
        { label: words.day },
        { label: words.award },
        { label: words.delivered },
        { label: words.imbalance },
        { label: words.net, end: true },
        { label: words.settledAs },
        { label: words.check },
      ]}
      rows={page.days.map((day) => ({
        key: day.delivery_date,
        picked: day.delivery_date === chosen,
        cells: [
          <PickButton key="day" pressed={day.delivery_date === chosen} label={words.show(deliveryDay(day.delivery_date))} onPick={() => onChoose(day.delivery_date)}>
            {deliveryDay(day.delivery_date)}
          </PickButton>,
          awardWords(day),
          deliveredWords(day),
          <>
            {imbalanceWords(day)}
            {day.imbalance_cents === null ? null : <Sub>{netWords(day.imbalance_cents, day.currency)}</Sub>}
          </>,
          netWords(day.net_cents, day.currency),
          <SettledAs key="as" day={day} />,
          day.settled_by === "nobody" ? "" : <Check found={day} currency={day.currency} />,
        ],
      }))}
    />
  );
}

export interface DaysProps {
  readonly resourceId: string;
  readonly name: string;
  readonly from: string | undefined;
  readonly to: string | undefined;
  readonly chosen: string;
  readonly onChoose: (day: string) => void;
  readonly onSpan: (part: { from?: string; to?: string }) => void;
}

export function DaysPanel({ resourceId, name, from, to, chosen, onChoose, onSpan }: DaysProps): ReactElement {
  const query = useApi("/api/settlement", { query: { resource: resourceId, from: from ?? null, to: to ?? null } }, { everyMs: ASK_MS, keep: true });
  const page = query.data;
  const firstDay = from ?? page?.from_date ?? "";
  const lastDay = to ?? page?.to_date ?? "";
  return (
    <Panel
      title={words.title(name)}
      hint={words.hint}
      testId="settlement-days"
      state={refusedAsEmpty(query.error) ?? stateOfQuery(query)}
      onRetry={() => void query.refetch()}
      actions={<Files path="/api/settlement/export" args={{ query: { resource: resourceId, from, to } }} say={strings.files.days} />}
    >
      {() =>
        page ? (
          <>
            <div className={classes["span"]}>
              <Figure label={words.sum} value={page.settled_days === 0 ? strings.unknown : exactAmount(page.net_cents, page.currency)} testId="settlement-net">
                {words.sumOf(count(page.settled_days), count(page.days.length))}
              </Figure>
              <label>
                {words.from}
                <input type="date" value={firstDay} max={lastDay} onChange={(event) => event.target.value && onSpan({ from: event.target.value, to: lastDay })} />
              </label>
              <label>
                {words.to}
                <input type="date" value={lastDay} min={firstDay} onChange={(event) => event.target.value && onSpan({ from: firstDay, to: event.target.value })} />
              </label>
            </div>
            {page.days.length === 0 ? <p className={classes["note"]}>{words.empty}</p> : <DaysTable page={page} chosen={chosen} onChoose={onChoose} />}
          </>
        ) : null
      }
    </Panel>
  );
}
