/** The alarms that stand: how bad, what, where, since when, and the button that says that somebody knows. */
import { useState, type ReactElement } from "react";
import { api } from "../../api/client";
import type { Alarm } from "../../api/types";
import { useMay } from "../../app/session";
import { count } from "../../format/number";
import { dayHour } from "../../format/time";
import { useLivePart } from "../../live/store";
import { strings } from "../../strings";
import { DataTable, Sub } from "../../ui/DataTable";
import { Panel } from "../../ui/Panel";
import { Pill } from "../../ui/Pill";
import { Severity } from "../../ui/Severity";
import ui from "../../ui/ui.module.css";
import classes from "./AlarmsPanel.module.css";
import { extent, inOrder, what } from "./alarms";

const words = strings.alarms;

type Attempt = "sending" | { readonly failed: string };

function Acknowledgement({ alarm, zone, mayAct }: { alarm: Alarm; zone: string; mayAct: boolean }): ReactElement {
  const [attempt, setAttempt] = useState<Attempt | null>(null);
  if (alarm.acknowledged_ms !== null) {
    return (
      <div>
        {words.by(alarm.acknowledged_by, dayHour(alarm.acknowledged_ms, zone))}
        {alarm.note ? <Sub>{alarm.note}</Sub> : null}
      </div>
    );
  }
  if (!mayAct) return <>{words.nobody}</>;
  const send = (): void => {
    setAttempt("sending");
    api.post("/api/alarms/{number}/ack", { path: { number: alarm.number }, body: { note: "" } }).then(
      () => setAttempt(null),
      (error: unknown) => setAttempt({ failed: error instanceof Error ? error.message : String(error) }),
    );
  };
  return (
    <div>
      <button
        type="button"
        className={ui["button"]}
        aria-label={words.acknowledgeNamed(what(alarm), alarm.name)}
        disabled={attempt === "sending"}
        onClick={send}
      >
        {attempt === "sending" ? words.sending : words.acknowledge}
      </button>
      <div role="status" className={classes["failed"]}>
        {attempt !== null && attempt !== "sending" ? words.failed(attempt.failed) : null}
      </div>
    </div>
  );
}

export function AlarmsPanel(): ReactElement {
  const alarms = useLivePart("alarms");
  const zone = useLivePart("zone") ?? "UTC";
  const mayAct = useMay("operate");
  const shown = inOrder(alarms?.active ?? []);
  const active = alarms?.active_count ?? 0;
  const more = active - shown.length;
  return (
    <Panel
      title={words.title}
      hint={words.hint}
      testId="alarms"
      empty={active === 0 ? words.empty : null}
      actions={active > 0 ? <Pill>{words.count(count(active))}</Pill> : null}
    >
      {() => (
        <>
          <DataTable
            long
            caption={words.title}
            columns={[{ label: words.severity }, { label: words.what }, { label: words.where }, { label: words.since }, { label: words.noted }]}
            rows={shown.map((alarm) => ({
              key: String(alarm.number),
              cells: [
                <Severity key="severity" value={alarm.severity} />,
                what(alarm),
                <div key="where">
                  {alarm.name}
                  <Sub>{extent(alarm)}</Sub>
                </div>,
                <div key="since">
                  {dayHour(alarm.raised_ms, zone)}
                  {alarm.count > 1 ? <Sub>{words.times(count(alarm.count))}</Sub> : null}
                </div>,
                <Acknowledgement key={`noted ${alarm.count}`} alarm={alarm} zone={zone} mayAct={mayAct} />,
              ],
            }))}
          />
          {more > 0 ? <Sub>{words.more(count(more))}</Sub> : null}
          {!mayAct ? <Sub>{words.readOnly}</Sub> : null}
        </>
      )}
    </Panel>
  );
}
