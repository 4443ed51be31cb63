/** What bounds a group: its limits and those above it, who set them, how much of them is used. */
import type { ReactElement, ReactNode } from "react";
import type { Schema } from "../../api/client";
import { useApi } from "../../api/queries";
import { links } from "../../app/links";
import { ScreenLink } from "../../app/nav";
import { count, percent } from "../../format/number";
import { gridPhrase, gridRange, powerSize } from "../../format/power";
import { DataTable, Sub, type TableRow } from "../../ui/DataTable";
import { Instant } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { stateOfQuery } from "../../ui/panelState";
import { Pill } from "../../ui/Pill";
import { strings } from "./strings";

const words = strings.limits;
type Limit = Schema["NodeLimit"];
type Flow = Schema["NodeFlow"];
/** Used by so much, a limit calls for a look. */
const NEARLY_FULL = 0.9;

const COLUMNS = [{ label: words.where }, { label: words.what }, { label: words.source }, { label: words.when }, { label: words.state }];

function Standing({ limit }: { limit: Limit }): ReactElement {
  if (!limit.now) return <span>{limit.source === "connection" ? words.replaced : words.waits}</span>;
  const used = limit.used_frac;
  return (
    <>
      {used !== null && used >= NEARLY_FULL ? <Pill tone="warn">{words.used(percent(used))}</Pill> : words.holds}
      {used === null ? <Sub>{words.usedUnknown}</Sub> : used >= NEARLY_FULL ? null : <Sub>{words.used(percent(used))}</Sub>}
    </>
  );
}

function rowOf(limit: Limit, groupId: string): TableRow {
  const cells: ReactNode[] = [
    limit.group_id === groupId ? words.here : <ScreenLink to={links.node(limit.group_id)}>{limit.name}</ScreenLink>,
    <div key="what">
      {words.kinds[limit.kind]}
      <Sub>{limit.limit_kw === 0 ? words.nothing : words.atMost(powerSize(limit.limit_kw))}</Sub>
    </div>,
    <div key="by">
      {words.sources[limit.source]}
      <Sub>{words.setBy(limit.set_by)}</Sub>
      {limit.reason === "" ? null : <Sub>{limit.reason}</Sub>}
    </div>,
    <div key="when">
      {words.since} <Instant ms={limit.from_ms} />
      {limit.until_ms === null ? null : (
        <Sub>
          {words.until} <Instant ms={limit.until_ms} />
        </Sub>
      )}
    </div>,
    <Standing key="now" limit={limit} />,
  ];
  return { key: `${limit.group_id} ${limit.kind} ${limit.source} ${limit.from_ms}`, cells };
}

function FlowLines({ flow }: { flow: Flow }): ReactElement {
  return (
    <div data-testid="limit-flow">
      <p>
        {words.flow(gridPhrase(flow.flow_kw), ...gridRange(flow.low_kw, flow.high_kw))}. {words.silent(count(flow.silent_sites), count(flow.sites))} {words.asOf} <Instant ms={flow.as_of_ms} show="clock" />
      </p>
      {flow.bound.length === 0 ? null : (
        <ul>
          {flow.bound.map((one) => (
            <li key={`${one.claim} ${one.direction}`}>{words.bound(one.claim, powerSize(one.held_w / 1_000), words.ways[one.direction])}</li>
          ))}
        </ul>
      )}
    </div>
  );
}

export function Limits({ groupId }: { groupId: string }): ReactElement {
  const query = useApi("/api/groups/{group_id}/limits", { path: { group_id: groupId } }, { everyMs: 5_000 });
  const limits = query.data;
  return (
    <Panel title={words.title} hint={words.hint} testId="limits" state={stateOfQuery(query, (data) => (data.limits.length === 0 ? words.empty : null))} onRetry={() => void query.refetch()}>
      {() =>
        limits ? (
          <>
            {limits.flow ? <FlowLines flow={limits.flow} /> : null}
            <DataTable caption={words.title} columns={COLUMNS} rows={limits.limits.map((one) => rowOf(one, groupId))} />
          </>
        ) : null
      }
    </Panel>
  );
}
