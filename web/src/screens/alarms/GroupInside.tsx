/** A group opened: where it is, what hangs on it, where to look, and its alarms one by one. */
import { useState, type ReactElement } from "react";
import { useApi } from "../../api/queries";
import { links } from "../../app/links";
import { ScreenLink } from "../../app/nav";
import { extent, what } from "../../features/alarms/alarms";
import { price } from "../../format/money";
import { count } from "../../format/number";
import { powerSize } from "../../format/power";
import { dayHour } from "../../format/time";
import { Button } from "../../ui/Button";
import { DataTable, Sub } from "../../ui/DataTable";
import { Instant, useZone } from "../../ui/Instant";
import { faultWords } from "../../ui/panelState";
import { Severity } from "../../ui/Severity";
import ui from "../../ui/ui.module.css";
import classes from "./Alarms.module.css";
import { causeOf, evidenceLink, evidenceName, kindsOf, type AlarmGroup, type Shelved } from "./groups";
import { strings } from "./strings";

const words = strings.group;
const PAGE = 50;

/** Whether an alarm is put aside, in words; nothing of one that never was. */
export function shelfWords(shelved: Shelved | null, zone: string): string | null {
  if (shelved === null) return null;
  return shelved.ended === null ? strings.shelf.until(dayHour(shelved.until_ms, zone), shelved.by) : strings.shelf[shelved.ended];
}

function Members({ group }: { group: AlarmGroup }): ReactElement {
  const zone = useZone();
  const [limit, setLimit] = useState(PAGE);
  const query = useApi("/api/alarms/groups/members", { query: { cause: group.cause, limit } }, { everyMs: 5_000, keep: true });
  const page = query.data;
  if (!page) return <p className={classes["said"]}>{query.isError ? faultWords(query.error) : strings.groups.alarms(count(group.count))}</p>;
  return (
    <>
      <DataTable
        long
        caption={words.members}
        columns={[
          { label: strings.alarm.severity },
          { label: strings.alarm.what },
          { label: strings.alarm.where },
          { label: strings.alarm.raised },
          { label: strings.alarm.state },
        ]}
        rows={page.alarms.map(({ alarm, shelved }) => ({
          key: String(alarm.number),
          cells: [
            <Severity key="severity" value={alarm.severity} />,
            <ScreenLink key="what" to={links.alarm(alarm.number)}>
              {what(alarm)}
            </ScreenLink>,
            <div key="where">
              {alarm.name}
              <Sub>{extent(alarm)}</Sub>
            </div>,
            <Instant key="raised" ms={alarm.raised_ms} />,
            <div key="state">
              {alarm.acknowledged_ms === null ? strings.history.nobody : strings.history.by(alarm.acknowledged_by)}
              {alarm.note ? <Sub>{alarm.note}</Sub> : null}
              {shelved ? <Sub>{shelfWords(shelved, zone)}</Sub> : null}
            </div>,
          ],
        }))}
      />
      <p className={classes["sub"]}>{words.membersShown(count(page.alarms.length), count(page.total))}</p>
      {page.total > page.alarms.length && limit < 500 ? (
        <div>
          <Button onClick={() => setLimit(Math.min(limit + 150, 500))}>{words.more}</Button>
        </div>
      ) : null}
    </>
  );
}

export function GroupInside({ group }: { group: AlarmGroup }): ReactElement {
  const zone = useZone();
  return (
    <div className={classes["inside"]} role="region" aria-label={words.label(causeOf(group))}>
      <dl className={classes["facts"]}>
        <dt>{words.kinds}</dt>
        <dd>{kindsOf(group)}</dd>
        {group.path.length > 0 ? (
          <>
            <dt>{words.path}</dt>
            <dd>{group.path.join(" › ")}</dd>
          </>
        ) : null}
      </dl>
      {group.money.map((one) => (
        <p key={one.resource_id} className={classes["said"]}>
          {words.money(one.resource_id, powerSize(one.sold_kw), price(one.price_per_mwh, one.currency), dayHour(one.until_ms, zone))}
        </p>
      ))}
      {group.money.length > 0 ? <p className={classes["sub"]}>{words.moneyWhy}</p> : null}
      {group.evidence.length > 0 ? (
        <div>
          <h3 className={ui["subtitle"]}>{words.evidence}</h3>
          <ul className={classes["evidence"]}>
            {group.evidence.map((one) => {
              const to = evidenceLink(one);
              return <li key={`${one.kind} ${one.id}`}>{to === null ? evidenceName(one) : <ScreenLink to={to}>{evidenceName(one)}</ScreenLink>}</li>;
            })}
          </ul>
        </div>
      ) : null}
      <h3 className={ui["subtitle"]}>{words.members}</h3>
      <Members group={group} />
    </div>
  );
}
