/** What is on record of a site: its device, its programs and consents, and what happened. */
import type { ReactElement, ReactNode } from "react";
import type { Schema } from "../../api/client";
import { useApi } from "../../api/queries";
import { links } from "../../app/links";
import { ScreenLink } from "../../app/nav";
import { codeWords } from "../../format/market";
import { amount } from "../../format/money";
import { count, percent } from "../../format/number";
import { energySize, powerSize } from "../../format/power";
import { useNowMs } from "../../live/now";
import { DataTable } from "../../ui/DataTable";
import { Age } from "../../ui/figures";
import { Instant } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { stateOfQuery } from "../../ui/panelState";
import { Pill } from "../../ui/Pill";
import { Severity } from "../../ui/Severity";
import { hasScreen } from "./reach";
import classes from "./Screen.module.css";
import { enrolmentState, type SiteDevice } from "./site";
import { strings } from "./strings";

const RECORDS_EVERY_MS = 30_000;

function Fact({ name, children }: { name: string; children: ReactNode }): ReactElement {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}

function Parameters({ device }: { device: SiteDevice }): ReactElement {
  const words = strings.device;
  if (device.parameters.length === 0) return <p className={classes["dim"]}>{words.noParameters}</p>;
  return (
    <DataTable
      caption={words.parameters}
      columns={[{ label: words.service }, { label: words.setting }, { label: words.assumed }, { label: words.said }, { label: words.verdict }]}
      rows={device.parameters.map((one) => ({
        key: `${one.resource_id}/${one.service}/${one.name}`,
        cells: [
          `${one.service} · ${one.resource_id}`,
          words.names[one.name] ?? one.name,
          one.assumed,
          one.reported ?? words.notReported,
          one.drifted ? (
            <Pill key="verdict" tone="warn">
              {words.drifted}
            </Pill>
          ) : (
            words.agrees
          ),
        ],
      }))}
    />
  );
}

function Device({ device }: { device: SiteDevice }): ReactElement {
  const words = strings.device;
  const linked = hasScreen("/alarms/$number");
  return (
    <>
      <dl className={classes["facts"]}>
        <Fact name={words.type}>{words.typeWords[device.device_type] ?? codeWords(device.device_type)}</Fact>
        <Fact name={words.connection}>{device.gateway_id === null ? words.own : words.behind(device.gateway_id, count(device.gateway_unit ?? 0))}</Fact>
        <Fact name={words.heard}>
          {device.heard_ms === null ? (
            words.never
          ) : (
            <>
              <Instant ms={device.heard_ms} /> <Age seconds={device.age_s} {...(device.grade === "fresh" ? {} : { staleAfterS: 0 })} />
            </>
          )}
        </Fact>
        <Fact name={words.enrolled}>{device.enrolled_ms === null ? words.none : <Since ms={device.enrolled_ms} />}</Fact>
        {device.revoked_ms === null ? null : (
          <Fact name={words.revoked}>
            <Instant ms={device.revoked_ms} />
          </Fact>
        )}
        <Fact name={words.firmware}>{device.firmware ?? words.notReported}</Fact>
        <Fact name={words.reported}>{device.reported_ms === null ? words.never : <Instant ms={device.reported_ms} />}</Fact>
      </dl>
      {device.withheld_kw > 0 ? <p className={classes["doubt"]}>{words.withheld(powerSize(device.withheld_kw))}</p> : null}
      <h3 className={classes["heading"]}>{words.parameters}</h3>
      <Parameters device={device} />
      <h3 className={classes["heading"]}>{words.alarms}</h3>
      {device.alarms.length === 0 ? (
        <p className={classes["dim"]}>{words.noAlarms}</p>
      ) : (
        <ul className={classes["list"]}>
          {device.alarms.map((one) => {
            const said = words.alarm(codeWords(one.kind));
            return (
              <li key={one.number}>
                <Severity value={one.severity} /> {linked ? (
                  <ScreenLink to={links.alarm(one.number)} className={classes["link"]}>
                    {said}
                  </ScreenLink>
                ) : (
                  said
                )} <Instant ms={one.raised_ms} />
              </li>
            );
          })}
        </ul>
      )}
    </>
  );
}

export function DevicePanel({ siteId }: { siteId: string }): ReactElement {
  const query = useApi("/api/sites/{site_id}/device", { path: { site_id: siteId } }, { everyMs: RECORDS_EVERY_MS });
  return (
    <Panel title={strings.device.title} hint={strings.device.hint} state={stateOfQuery(query)} onRetry={() => void query.refetch()} testId="site-device">
      {() => (query.data ? <Device device={query.data} /> : null)}
    </Panel>
  );
}

/** An instant; what has been so from the start has none. */
function Since({ ms }: { ms: number }): ReactElement {
  return ms <= 0 ? <span>{strings.always}</span> : <Instant ms={ms} />;
}

function Until({ fromMs, untilMs }: { fromMs: number; untilMs: number | null }): ReactElement {
  return (
    <>
      <Since ms={fromMs} /> – {untilMs === null ? strings.programs.open : <Instant ms={untilMs} />}
    </>
  );
}

function Programs({ held, nowMs }: { held: Schema["SitePrograms"]; nowMs: number }): ReactElement {
  const words = strings.programs;
  return (
    <>
      {held.enrolments.length === 0 ? (
        <p className={classes["dim"]}>{words.empty}</p>
      ) : (
        <DataTable
          caption={words.caption}
          columns={[{ label: words.program }, { label: words.state }, { label: words.since }, { label: words.consent }]}
          rows={held.enrolments.map((one) => ({
            key: `${one.program_id} ${one.from_ms}`,
            cells: [
              one.program_id,
              words[enrolmentState(one, held.opt_outs, nowMs)],
              <Until key="span" fromMs={one.from_ms} untilMs={one.until_ms} />,
              one.withdrawn_ms === null ? words.consentBy(one.consented_by, one.terms) : words.withdrawn(one.withdrawn_by),
            ],
          }))}
        />
      )}
      <h3 className={classes["heading"]}>{words.promises}</h3>
      {held.promises.length === 0 ? (
        <p className={classes["dim"]}>{words.noPromises}</p>
      ) : (
        <DataTable
          caption={words.promises}
          columns={[{ label: words.promise }, { label: words.since }, { label: words.by }]}
          rows={held.promises.map((one) => ({
            key: `${one.kind} ${one.from_ms}`,
            cells: [one.kind === "reserve_frac" ? words.reserve(percent(one.amount)) : words.cycles(energySize(one.amount / 1000)), <Until key="span" fromMs={one.from_ms} untilMs={one.until_ms} />, one.said_by],
          }))}
        />
      )}
    </>
  );
}

export function ProgramsPanel({ siteId }: { siteId: string }): ReactElement {
  const nowMs = useNowMs() ?? 0;
  const query = useApi("/api/sites/{site_id}/programs", { path: { site_id: siteId } }, { everyMs: RECORDS_EVERY_MS });
  return (
    <Panel title={strings.programs.title} hint={strings.programs.hint} state={stateOfQuery(query)} onRetry={() => void query.refetch()} testId="site-programs">
      {() => (query.data ? <Programs held={query.data} nowMs={nowMs} /> : null)}
    </Panel>
  );
}

/** The detail of an event in words. */
export function detailOf(one: Schema["SiteEvent"]): string {
  if (one.amount !== null && one.currency !== null) return amount(Number(one.amount), one.currency);
  if (one.what === "promised") return one.subject === "reserve_frac" ? percent(Number(one.words)) : energySize(Number(one.words) / 1000);
  return one.words;
}

export function EventsPanel({ siteId }: { siteId: string }): ReactElement {
  const words = strings.events;
  const query = useApi("/api/sites/{site_id}/events", { path: { site_id: siteId }, query: { limit: 100 } }, { everyMs: RECORDS_EVERY_MS });
  const state = stateOfQuery(query, (data) => (data.events.length === 0 ? words.empty : null));
  return (
    <Panel title={words.title} hint={words.hint} state={state} onRetry={() => void query.refetch()} testId="site-events">
      {() => (
        <>
          {query.data?.truncated ? <p className={classes["dim"]}>{words.truncated(count(query.data.events.length))}</p> : null}
          <DataTable
            long
            caption={words.caption}
            columns={[{ label: words.when }, { label: words.what }, { label: words.about }, { label: words.detail }, { label: words.by }]}
            rows={(query.data?.events ?? []).map((one, i) => ({
              key: `${i} ${one.at_ms} ${one.what}`,
              cells: [<Since key="at" ms={one.at_ms} />, words.words[one.what] ?? one.what, words.promised[one.subject] ?? one.subject, detailOf(one), one.by],
            }))}
          />
        </>
      )}
    </Panel>
  );
}
