/** Every workflow run, the newest first; what was late or fell to a lower rung is marked. */
import type { ReactElement } from "react";
import { useApi } from "../../api/queries";
import type { WorkflowRun } from "../../api/types";
import { links } from "../../app/links";
import { ScreenLink, useSearch, useSetSearch } from "../../app/nav";
import { codeWords } from "../../format/market";
import { count } from "../../format/number";
import { deliveryDay } from "../../format/time";
import { useNowMs } from "../../live/now";
import { useLivePart } from "../../live/store";
import { DataTable, Sub } from "../../ui/DataTable";
import { Instant } from "../../ui/Instant";
import layout from "../../ui/layout.module.css";
import { Panel } from "../../ui/Panel";
import { READY, stateOfQuery, type PanelState } from "../../ui/panelState";
import { Pill } from "../../ui/Pill";
import classes from "./run.module.css";
import { strings } from "./strings";
import { isOdd, marginWords, marksOf, toneOf, type Mark } from "./words";

const words = strings.list;
const SHOWN = 200;
const ASK_MS = 30_000;
const ODD = "odd";

/** What was asked for, with what came over the live connection since; a run counts once, the live word first. */
export function merged(asked: readonly WorkflowRun[], live: readonly WorkflowRun[]): WorkflowRun[] {
  const byId = new Map([...asked, ...live].map((run) => [run.workflow_id, run]));
  return [...byId.values()].sort((a, b) => b.started_ms - a.started_ms || a.workflow_id.localeCompare(b.workflow_id));
}

export function Marks({ marks }: { marks: readonly Mark[] }): ReactElement | null {
  if (marks.length === 0) return null;
  return (
    <div className={classes["marks"]}>
      {marks.map((mark) => (
        <Pill key={mark} tone={mark === "late" ? "bad" : mark === "fallback" ? "warn" : "calm"}>
          {strings.marks[mark]}
        </Pill>
      ))}
    </div>
  );
}

export interface RunsProps {
  readonly search: Readonly<Record<string, string>>;
  readonly onSearch: (part: Record<string, string | undefined>) => void;
}

export function Runs({ search, onSearch }: RunsProps): ReactElement {
  const query = useApi("/api/runs", { query: { latest: SHOWN } }, { everyMs: ASK_MS });
  const live = useLivePart("runs") ?? [];
  const resources = useLivePart("resources") ?? [];
  const nowMs = useNowMs();
  const runs = merged(query.data ?? [], live);
  const { resource, day, show } = search;
  const names = new Map(resources.map((one) => [one.resource_id, one.name]));
  const nameOf = (id: string): string => names.get(id) ?? id;
  const known = [...new Set([...names.keys(), ...runs.map((one) => one.resource_id)])].sort();
  const shown = runs.filter(
    (run) => (!resource || run.resource_id === resource) && (!day || run.delivery_date === day) && (show !== ODD || isOdd(run, nowMs)),
  );
  const asked: PanelState = runs.length > 0 && query.data === undefined && !query.isError ? READY : stateOfQuery(query);
  const state: PanelState = asked.kind === "ready" && runs.length >= SHOWN ? { kind: "partial", words: words.first(count(SHOWN)) } : asked;
  return (
    <Panel
      title={words.title}
      hint={words.hint}
      testId="runs"
      state={state}
      empty={query.data && runs.length === 0 ? words.empty : null}
      onRetry={() => void query.refetch()}
    >
      {() => (
        <>
          <div className={classes["filters"]}>
            <label>
              {words.resource}
              <select value={resource ?? ""} onChange={(event) => onSearch({ resource: event.target.value || undefined })}>
                <option value="">{words.allResources}</option>
                {known.map((id) => (
                  <option key={id} value={id}>
                    {nameOf(id)}
                  </option>
                ))}
              </select>
            </label>
            <label>
              {words.which}
              <select value={show ?? ""} onChange={(event) => onSearch({ show: event.target.value || undefined })}>
                <option value="">{words.allRuns}</option>
                <option value={ODD}>{words.toLookAt}</option>
              </select>
            </label>
            <label>
              {words.day}
              <input type="date" value={day ?? ""} onChange={(event) => onSearch({ day: event.target.value || undefined })} />
            </label>
          </div>
          {shown.length === 0 ? (
            <p className={classes["note"]}>{words.nothing}</p>
          ) : (
            <DataTable
              caption={words.title}
              columns={[{ label: words.run }, { label: words.resource }, { label: words.started }, { label: words.gate }, { label: words.rung }, { label: words.status }]}
              rows={shown.map((run) => {
                const what = words.of(strings.kinds[run.kind] ?? codeWords(run.kind), deliveryDay(run.delivery_date));
                return {
                  key: run.workflow_id,
                  cells: [
                    <ScreenLink key="run" to={links.run(run.workflow_id)} label={words.show(what, nameOf(run.resource_id))}>
                      {what}
                    </ScreenLink>,
                    nameOf(run.resource_id),
                    <div key="started">
                      <Instant ms={run.started_ms} />
                      <Sub>{marginWords(run)}</Sub>
                    </div>,
                    run.kind === "bid" ? <Instant key="gate" ms={run.gate_ms} /> : "",
                    <div key="rung">
                      {codeWords(run.rung)}
                      <Marks marks={marksOf(run, nowMs)} />
                      {run.rung_reason ? <Sub>{run.rung_reason}</Sub> : null}
                    </div>,
                    <Pill key="status" tone={toneOf(run.status)}>
                      {run.finished_ms === null && run.status === "draft" ? words.running : codeWords(run.status)}
                    </Pill>,
                  ],
                };
              })}
            />
          )}
        </>
      )}
    </Panel>
  );
}

export default function Screen(): ReactElement {
  const search = useSearch();
  const setSearch = useSetSearch();
  return (
    <div className={layout["screen"]}>
      <h1 className={layout["heading"]}>{strings.title}</h1>
      <Runs search={search} onSearch={setSearch} />
    </div>
  );
}
