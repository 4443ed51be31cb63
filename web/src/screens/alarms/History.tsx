/** Alarms that are over, the latest first, page by page. */
import { useState, type ReactElement } from "react";
import { api } from "../../api/client";
import { useApi } from "../../api/queries";
import type { Alarm } from "../../api/types";
import { links } from "../../app/links";
import { ScreenLink } from "../../app/nav";
import { what } from "../../features/alarms/alarms";
import { duration } from "../../format/time";
import { Button } from "../../ui/Button";
import { DataTable, Sub } from "../../ui/DataTable";
import { Instant } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { faultWords, stateOfQuery } from "../../ui/panelState";
import { Severity } from "../../ui/Severity";
import ui from "../../ui/ui.module.css";
import { strings } from "./strings";

const words = strings.history;
const PAGE = 100;

interface Older {
  readonly alarms: readonly Alarm[];
  readonly next: string | null;
}

function Rows({ alarms }: { alarms: readonly Alarm[] }): ReactElement {
  return (
    <DataTable
      long
      caption={words.title}
      columns={[{ label: strings.alarm.severity }, { label: strings.alarm.what }, { label: strings.alarm.where }, { label: words.cleared }, { label: words.noted }]}
      rows={alarms.map((alarm) => ({
        key: String(alarm.number),
        cells: [
          <Severity key="severity" value={alarm.severity} />,
          <ScreenLink key="what" to={links.alarm(alarm.number)}>
            {what(alarm)}
          </ScreenLink>,
          alarm.name,
          <div key="cleared">
            {alarm.cleared_ms === null ? null : <Instant ms={alarm.cleared_ms} />}
            {alarm.cleared_ms === null ? null : <Sub>{`${words.lasted} ${duration((alarm.cleared_ms - alarm.raised_ms) / 1000)}`}</Sub>}
          </div>,
          <div key="noted">
            {alarm.acknowledged_ms === null ? words.nobody : words.by(alarm.acknowledged_by)}
            {alarm.note ? <Sub>{alarm.note}</Sub> : null}
          </div>,
        ],
      }))}
    />
  );
}

export function History(): ReactElement {
  const query = useApi("/api/alarms/history", { query: { limit: PAGE } });
  const [older, setOlder] = useState<Older | null>(null);
  const [fault, setFault] = useState("");
  const next = older === null ? (query.data?.next ?? null) : older.next;
  const more = (before: string): void => {
    api.get("/api/alarms/history", { query: { limit: PAGE, before } }).then(
      (page) => {
        setFault("");
        setOlder((held) => ({ alarms: [...(held?.alarms ?? []), ...page.alarms], next: page.next }));
      },
      (error: unknown) => setFault(words.failed(faultWords(error))),
    );
  };
  return (
    <Panel
      title={words.title}
      hint={words.hint}
      testId="alarm-history"
      state={stateOfQuery(query, (page) => (page.alarms.length === 0 ? words.empty : null))}
      onRetry={() => void query.refetch()}
    >
      {() => (
        <>
          <Rows alarms={[...(query.data?.alarms ?? []), ...(older?.alarms ?? [])]} />
          {next === null ? null : (
            <div>
              <Button onClick={() => more(next)}>{words.older}</Button>
            </div>
          )}
          <p role="alert" className={ui["fault"]}>
            {fault}
          </p>
        </>
      )}
    </Panel>
  );
}
