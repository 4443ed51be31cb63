/** One group of a hierarchy: where it hangs, how it is now, what bounds it, what is below it. */
import { useMemo, type ReactElement } from "react";
import { useApi } from "../../api/queries";
import type { Group } from "../../api/types";
import { links } from "../../app/links";
import { ScreenLink, useParam, useSearch, useSetSearch } from "../../app/nav";
import { count, percent } from "../../format/number";
import { batteryPhrase, batteryRange, gridPhrase, gridRange, powerSize } from "../../format/power";
import { duration } from "../../format/time";
import { useWatched } from "../../live/store";
import { strings as shared } from "../../strings";
import { Allowed } from "../../ui/Allowed";
import { Breadcrumb } from "../../ui/Breadcrumb";
import { Figure, Quantity, rangeSentence } from "../../ui/figures";
import { IntervalBar } from "../../ui/IntervalBar";
import layout from "../../ui/layout.module.css";
import { Panel } from "../../ui/Panel";
import { stateOfQuery } from "../../ui/panelState";
import { Children, deviationWords, orderOf, type ChildOrder } from "./Children";
import { History } from "./History";
import { hoursOf, type Hours } from "./history";
import { Limits } from "./Limits";
import classes from "./node.module.css";
import { strings } from "./strings";

const words = strings.figures;

function Figures({ group }: { group: Group }): ReactElement {
  return (
    <div className={classes["figures"]}>
      <Figure label={words.battery} value={<Quantity value={batteryPhrase(group.expected_kw)} />} testId="node-battery">
        <IntervalBar low={group.low_kw} expected={group.expected_kw} high={group.high_kw} color="--battery" />
        {rangeSentence({ lowKw: group.low_kw, highKw: group.high_kw, range: batteryRange })}
        <div data-testid="node-command">{deviationWords(group)}</div>
      </Figure>
      <Figure label={words.grid} value={<Quantity value={gridPhrase(group.grid_expected_kw)} />} testId="node-grid">
        <IntervalBar low={group.grid_low_kw} expected={group.grid_expected_kw} high={group.grid_high_kw} color="--import" />
        {rangeSentence({ lowKw: group.grid_low_kw, highKw: group.grid_high_kw, range: gridRange })}
      </Figure>
      <Figure label={words.firm} hint={words.firmHint} value={words.firmValue(powerSize(group.firm_discharge_kw), powerSize(group.firm_charge_kw))} />
      <Figure label={words.soc} hint={words.socHint} value={<Quantity value={group.soc_frac === null ? words.socUnknown : percent(group.soc_frac)} />}>
        {words.socOf(powerSize(group.capacity_kw))}
      </Figure>
      <Figure label={words.coverage} hint={words.coverageHint} value={<Quantity value={group.coverage_kw_frac === null ? shared.figures.coverageNone : percent(group.coverage_kw_frac, 1)} />} testId="node-coverage">
        {group.coverage_count_frac === null ? null : <div>{shared.figures.coverageCount(percent(group.coverage_count_frac, 1))}</div>}
        <div>{words.counts(count(group.fresh), count(group.stale), count(group.unknown), count(group.suspect))}</div>
        <div>{group.oldest_age_s === null ? words.never : words.oldest(duration(group.oldest_age_s))}</div>
        <ScreenLink to={links.fleet({ group: group.group_id, view: "table" })}>{words.sites}</ScreenLink>
      </Figure>
    </div>
  );
}

export interface NodeProps {
  readonly groupId: string;
  readonly order: ChildOrder;
  readonly hours?: Hours;
  readonly onOrder: (order: ChildOrder) => void;
  readonly onHours?: (hours: Hours) => void;
}

export function NodeView({ groupId, order, hours = "6", onOrder, onHours = () => undefined }: NodeProps): ReactElement {
  const query = useApi("/api/groups/{group_id}", { path: { group_id: groupId } }, { everyMs: 5_000 });
  const watched = useWatched(useMemo(() => [groupId], [groupId]));
  const detail = query.data;
  const group = watched.get(groupId) ?? detail?.group;
  const above = (detail?.path ?? []).map((one) => ({ label: one.name, to: links.node(one.group_id) }));
  const name = group?.name ?? groupId;
  return (
    <div className={layout["screen"]}>
      <Breadcrumb items={[{ label: strings.fleet, to: links.fleet() }, ...above, { label: name }]} />
      <h1 className={layout["heading"]}>{name}</h1>
      <Allowed right="operate">
        <ScreenLink to={links.newDispatch({ group: groupId })}>{strings.dispatch}</ScreenLink>
      </Allowed>
      <Panel title={strings.now} {...(group ? { hint: strings.hint(group.hierarchy_id) } : {})} testId="node" state={stateOfQuery(query)} onRetry={() => void query.refetch()}>
        {() => (group ? <Figures group={group} /> : strings.missing)}
      </Panel>
      {query.data === undefined && query.isError ? null : (
        <>
          <History groupId={groupId} hours={hours} onHours={onHours} />
          <Children groupId={groupId} order={order} onOrder={onOrder} />
          <Limits groupId={groupId} />
        </>
      )}
    </div>
  );
}

export default function Screen(): ReactElement {
  const groupId = useParam("groupId");
  const search = useSearch();
  const setSearch = useSetSearch();
  return <NodeView key={groupId} groupId={groupId} order={orderOf(search["order"])} hours={hoursOf(search["hours"])} onOrder={(order) => setSearch({ order })} onHours={(hours) => setSearch({ hours })} />;
}
