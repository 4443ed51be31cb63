/** One alarm: what, where, how bad, who knows of it, whether it is put aside, and its every step. */
import { useState, type ReactElement } from "react";
import type { Schema } from "../../api/client";
import { useAct, useApi } from "../../api/queries";
import { links } from "../../app/links";
import { ScreenLink, useParam } from "../../app/nav";
import { useMay } from "../../app/session";
import { extent, what } from "../../features/alarms/alarms";
import { dayHour } from "../../format/time";
import { Breadcrumb } from "../../ui/Breadcrumb";
import { Button } from "../../ui/Button";
import { DataTable, Sub } from "../../ui/DataTable";
import { Instant, useZone } from "../../ui/Instant";
import layout from "../../ui/layout.module.css";
import { Panel } from "../../ui/Panel";
import { faultWords, stateOfQuery } from "../../ui/panelState";
import { Severity } from "../../ui/Severity";
import { ActDialog, type Asked } from "./acts";
import classes from "./Alarms.module.css";
import { evidenceLink } from "./groups";
import { shelfWords } from "./GroupInside";
import { strings } from "./strings";

const words = strings.alarm;
const EVERY_MS = 5_000;
const REFRESH = { refresh: ["/api/alarms"] };
type Alarm = Schema["Alarm"];

/** A step of the alarm or of the shelf. */
export interface Step {
  readonly t_ms: number;
  readonly action: string;
  readonly by: string;
  readonly alarm: Alarm | null;
  readonly said: string;
}

/** All steps in order, those of the shelf among the others. Pure. */
export function stepsOf(detail: Schema["AlarmDetail"], shelf: Schema["AlarmShelfNow"] | undefined, zone: string): Step[] {
  const own = detail.steps.map((one): Step => ({ ...one, said: one.action === "acknowledged" ? one.alarm.note : "" }));
  const aside = (shelf?.steps ?? []).map((one): Step => {
    const until = one.action === "shelved" ? words.until(dayHour(one.until_ms, zone)) : "";
    return { t_ms: one.t_ms, action: one.action, by: one.by, alarm: null, said: [until, one.reason].filter((text) => text !== "").join(", ") };
  });
  return [...own, ...aside].sort((a, b) => a.t_ms - b.t_ms);
}

function Where({ alarm }: { alarm: Alarm }): ReactElement {
  const kind = alarm.scope === "site" ? "site" : alarm.scope === "group" ? "group" : null;
  const to = kind === null ? null : evidenceLink({ kind, id: alarm.subject, label: alarm.name });
  return to === null ? <>{alarm.name}</> : <ScreenLink to={to}>{alarm.name}</ScreenLink>;
}

function Examples({ alarm }: { alarm: Alarm }): ReactElement {
  return (
    <ul className={classes["evidence"]}>
      {alarm.examples.map((site) => {
        const to = evidenceLink({ kind: "site", id: site, label: site });
        return <li key={site}>{to === null ? site : <ScreenLink to={to}>{site}</ScreenLink>}</li>;
      })}
    </ul>
  );
}

function Facts({ alarm, shelved }: { alarm: Alarm; shelved: Schema["Shelved"] | null }): ReactElement {
  const zone = useZone();
  const aside = shelfWords(shelved, zone);
  return (
    <dl className={classes["facts"]}>
      <dt>{words.severity}</dt>
      <dd>
        <Severity value={alarm.severity} />
      </dd>
      <dt>{words.where}</dt>
      <dd>
        <Where alarm={alarm} />
      </dd>
      <dt>{words.sites}</dt>
      <dd>{extent(alarm)}</dd>
      <dt>{words.raised}</dt>
      <dd>
        <Instant ms={alarm.raised_ms} />
      </dd>
      <dt>{words.state}</dt>
      <dd>
        {alarm.cleared_ms === null ? words.stands : words.over(dayHour(alarm.cleared_ms, zone))}
        {aside === null || alarm.cleared_ms !== null ? null : <Sub>{aside}</Sub>}
      </dd>
      <dt>{strings.history.noted}</dt>
      <dd>
        {alarm.acknowledged_ms === null ? strings.history.nobody : strings.history.by(alarm.acknowledged_by)}
        {alarm.note ? <Sub>{alarm.note}</Sub> : null}
      </dd>
      {alarm.examples.length > 0 ? (
        <>
          <dt>{words.examples}</dt>
          <dd>
            <Examples alarm={alarm} />
          </dd>
        </>
      ) : null}
      {([["merged", alarm.merged_into_number], ["split", alarm.split_from_number]] as const).map(([name, other]) =>
        other === null ? null : (
          <div key={name} style={{ display: "contents" }}>
            <dt>{words[name]}</dt>
            <dd>
              <ScreenLink to={links.alarm(other)}>{words.number(String(other))}</ScreenLink>
            </dd>
          </div>
        ),
      )}
    </dl>
  );
}

function Steps({ steps }: { steps: readonly Step[] }): ReactElement {
  return (
    <DataTable
      caption={words.steps}
      columns={[{ label: words.time }, { label: words.step }, { label: words.by }, { label: words.then }]}
      rows={steps.map((step, i) => ({
        key: `${step.t_ms} ${step.action} ${i}`,
        cells: [
          <Instant key="time" ms={step.t_ms} show="clock" />,
          <div key="step">
            {words.stepWords[step.action] ?? step.action}
            {step.said ? <Sub>{step.said}</Sub> : null}
          </div>,
          step.by || words.nobody,
          step.alarm === null ? (
            ""
          ) : (
            <div key="then">
              <Severity value={step.alarm.severity} />
              <Sub>{extent(step.alarm)}</Sub>
            </div>
          ),
        ],
      }))}
    />
  );
}

function Known({ number }: { number: number }): ReactElement {
  const zone = useZone();
  const mayAct = useMay("operate");
  const path = { number };
  const query = useApi("/api/alarms/{number}", { path }, { everyMs: EVERY_MS });
  const shelf = useApi("/api/alarms/{number}/shelf", { path }, { everyMs: EVERY_MS });
  const acknowledge = useAct("post", "/api/alarms/{number}/ack", REFRESH);
  const shelve = useAct("post", "/api/alarms/{number}/shelve", REFRESH);
  const takeBack = useAct("delete", "/api/alarms/{number}/shelve", REFRESH);
  const [act, setAct] = useState<"acknowledge" | "shelve" | null>(null);
  const alarm = query.data?.alarm;
  const shelved = shelf.data?.shelved ?? null;
  const stands = alarm !== undefined && alarm.cleared_ms === null;
  const isAside = shelved !== null && shelved.ended === null;
  const name = alarm === undefined ? "" : alarm.name;
  const perform = async ({ note, minutes }: Asked): Promise<void> => {
    if (act === "acknowledge") await acknowledge.run({ path, body: { note } });
    else await shelve.run({ path, body: { minutes, reason: note } });
  };
  return (
    <>
      <Panel
        title={alarm ? what(alarm) : words.number(String(number))}
        testId="alarm"
        state={stateOfQuery(query)}
        onRetry={() => void query.refetch()}
        actions={
          mayAct && stands ? (
            <>
              {alarm.acknowledged_ms === null ? (
                <Button label={strings.act.acknowledgeNamed(name)} onClick={() => setAct("acknowledge")}>
                  {strings.act.acknowledge}
                </Button>
              ) : null}
              {isAside ? (
                <Button label={strings.act.takeBackNamed(name)} busy={takeBack.busy} onClick={() => void takeBack.run({ path }).catch(() => undefined)}>
                  {strings.act.takeBack}
                </Button>
              ) : (
                <Button label={strings.act.shelveNamed(name)} onClick={() => setAct("shelve")}>
                  {strings.act.shelve}
                </Button>
              )}
            </>
          ) : null
        }
      >
        {() => (
          <>
            {alarm ? <Facts alarm={alarm} shelved={shelved} /> : null}
            {shelf.isError ? <p className={classes["said"]}>{faultWords(shelf.error)}</p> : null}
            {takeBack.fault ? (
              <p role="alert" className={classes["said"]}>
                {takeBack.fault}
              </p>
            ) : null}
          </>
        )}
      </Panel>
      {query.data ? (
        <Panel title={words.steps} hint={words.stepsHint} testId="alarm-steps" state={stateOfQuery(query)}>
          {() => (query.data ? <Steps steps={stepsOf(query.data, shelf.data, zone)} /> : null)}
        </Panel>
      ) : null}
      {act ? <ActDialog act={act} howMany={strings.groups.alarms("1")} name={name} onDo={perform} onClose={() => setAct(null)} /> : null}
    </>
  );
}

export default function Detail(): ReactElement {
  const text = useParam("number");
  const number = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : null;
  return (
    <div className={layout["screen"]}>
      <Breadcrumb items={[{ label: words.all, to: links.alarms() }, { label: words.number(text) }]} />
      <h1 className={layout["heading"]}>{words.number(text)}</h1>
      {number === null ? <p role="alert">{words.bad}</p> : <Known number={number} />}
    </div>
  );
}
