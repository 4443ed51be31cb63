/** The plant's software: services, the machine, who owns which work, leases. */
import { Fragment, type ReactElement, type ReactNode } from "react";
import { useApi } from "../../api/queries";
import type { RoleHealth } from "../../api/types";
import { count, fixed } from "../../format/number";
import { duration } from "../../format/time";
import { useLivePart } from "../../live/store";
import { DataTable } from "../../ui/DataTable";
import { Instant } from "../../ui/Instant";
import layout from "../../ui/layout.module.css";
import { Panel } from "../../ui/Panel";
import { stateOfQuery, type PanelState } from "../../ui/panelState";
import { Pill, type Tone } from "../../ui/Pill";
import classes from "./admin.module.css";
import { strings } from "./strings";
import { freeWords, type SystemAdmin } from "./words";

const words = strings.system;
const TONES: Record<RoleHealth["status"], Tone> = { up: "live", starting: "calm", down: "bad" };
const EVERY_MS = 5_000;

export function HealthPanel(): ReactElement {
  const health = useLivePart("health") ?? [];
  return (
    <Panel title={words.roles} hint={words.rolesHint} testId="health" parts={["health"]} empty={health.length === 0 ? words.rolesEmpty : null}>
      {() => (
        <DataTable
          narrow
          caption={words.roles}
          columns={[{ label: words.role }, { label: words.status }, { label: words.restarts, end: true }, { label: words.since, end: true }]}
          rows={health.map((one) => ({
            key: one.role,
            cells: [
              one.role,
              <Pill key="status" tone={TONES[one.status]} dot>
                {words.statusWords[one.status]}
              </Pill>,
              count(one.restarts),
              one.since_ms === null ? strings.none : <Instant key="since" ms={one.since_ms} />,
            ],
          }))}
        />
      )}
    </Panel>
  );
}

function Free({ free, all }: { free: number; all: number }): ReactElement {
  const said = freeWords(free, all);
  return (
    <>
      {said.words} {said.little ? <Pill tone="warn">{words.little}</Pill> : null}
    </>
  );
}

function Facts({ system }: { system: SystemAdmin }): ReactElement {
  const twins = useLivePart("twins");
  const { host } = system;
  const facts: readonly (readonly [string, ReactNode])[] = [
    [words.version, system.version],
    [words.python, system.python],
    [words.database, words.databaseAt(system.database, system.schema_revision)],
    [words.memory, <Free key="memory" free={host.memory_free_bytes} all={host.memory_bytes} />],
    [words.disk, host.disk_bytes === null || host.disk_free_bytes === null ? words.diskElsewhere : <Free key="disk" free={host.disk_free_bytes} all={host.disk_bytes} />],
    [words.load, host.load_1min === null ? strings.none : words.loadOf(fixed(host.load_1min, 1), count(host.processors))],
    [words.clients, system.slow_clients > 0 ? strings.and([count(system.clients), words.slow(count(system.slow_clients))]) : count(system.clients)],
    [words.message, system.message_age_s === null ? words.messageNever : duration(system.message_age_s)],
    ...(twins === null
      ? []
      : ([
          [words.shards, words.shardsOf(count(twins.live_shards), count(twins.shards))],
          [words.lag, words.lagOf(count(twins.lag))],
        ] as const)),
    [words.clock, <Instant key="clock" ms={system.wall_ms} show="clock" />],
  ];
  return (
    <dl className={classes["facts"]}>
      {facts.map(([label, value]) => (
        <Fragment key={label}>
          <dt>{label}</dt>
          <dd>{value}</dd>
        </Fragment>
      ))}
    </dl>
  );
}

export function Owners({ system }: { system: SystemAdmin }): ReactElement {
  return (
    <DataTable
      long
      caption={words.owners}
      columns={[{ label: words.unit }, { label: words.owner }, { label: words.status }, { label: words.token, end: true }, { label: words.behind, end: true }]}
      rows={system.owners.map((one) => ({
        key: `${one.group}/${one.unit}`,
        cells: [
          `${words.group[one.group] ?? one.group}: ${one.unit.replaceAll("_", " ")}`,
          one.owner === "" ? words.nobody : one.owner,
          <Pill key="status" tone={one.alive ? "live" : "warn"} dot>
            {one.alive ? words.alive : one.owner === "" ? words.nobody : words.gone}
          </Pill>,
          count(one.token),
          one.behind === null ? words.behindNone : words.lagOf(count(one.behind)),
        ],
      }))}
    />
  );
}

/** How the panel of owners stands: what cannot be asked now is said, with what else is known. */
export function ownersState(state: PanelState, system: SystemAdmin | undefined): PanelState {
  if (system === undefined || state.kind === "error" || state.kind === "loading") return state;
  if (system.owners_fault !== "") return { kind: "error", words: words.ownersFault(system.owners_fault) };
  return system.owners.length === 0 ? { kind: "empty", words: words.ownersEmpty } : state;
}

export function SystemTab(): ReactElement {
  const query = useApi("/api/admin/system", {}, { everyMs: EVERY_MS });
  const system = query.data;
  const state = stateOfQuery(query);
  const retry = (): void => void query.refetch();
  return (
    <>
      <div className={layout["pair"]}>
        <HealthPanel />
        <Panel title={words.host} hint={words.hostHint} testId="admin-system" state={state} onRetry={retry}>
          {() => (system === undefined ? null : <Facts system={system} />)}
        </Panel>
      </div>
      <Panel title={words.owners} hint={words.ownersHint} testId="admin-owners" state={ownersState(state, system)} onRetry={retry}>
        {() => (system === undefined ? null : <Owners system={system} />)}
      </Panel>
      <Panel title={words.leases} hint={words.leasesHint} testId="admin-leases" state={system?.leases.length === 0 && state.kind === "ready" ? { kind: "empty", words: words.leasesEmpty } : state} onRetry={retry}>
        {() => (
          <DataTable
            narrow
            caption={words.leases}
            columns={[{ label: words.slot }, { label: words.holder }, { label: words.beat, end: true }]}
            rows={(system?.leases ?? []).map((one) => ({ key: one.slot, cells: [one.slot, <span key="holder" className={classes["name"]}>{one.holder}</span>, count(one.beat)] }))}
          />
        )}
      </Panel>
    </>
  );
}
