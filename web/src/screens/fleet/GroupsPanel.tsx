/** Where the batteries are, opened level by level: every group with its coverage, age and range, never a bare sum. */
import { useState, type ReactElement } from "react";
import type { GroupOrder } from "../../api/plant";
import type { Group } from "../../api/types";
import { links } from "../../app/links";
import { ScreenLink } from "../../app/nav";
import { count, percent } from "../../format/number";
import { batteryPhrase, batteryRange, gridPhrase, gridRange, powerSize } from "../../format/power";
import { duration } from "../../format/time";
import { useLivePart } from "../../live/store";
import { strings } from "../../strings";
import { DataTable, Sub, type TableRow } from "../../ui/DataTable";
import { Panel } from "../../ui/Panel";
import ui from "../../ui/ui.module.css";
import classes from "./Groups.module.css";
import { AT_THE_TOP, FIRST_SHOWN, MOST_SHOWN, ORDERS, canShowMore, type Opened } from "./groupRows";
import { useGroups } from "./useGroups";

const words = strings.groups;

const COLUMNS = [
  { label: words.name },
  { label: words.sites, end: true },
  { label: words.coverage, end: true },
  { label: words.battery },
  { label: words.grid },
  { label: words.firm },
  { label: words.soc, end: true },
  { label: words.age, end: true },
];

function share(frac: number | null, decimals = 0): string {
  return frac === null ? strings.panel.noValue : percent(frac, decimals);
}

function row(group: Group, onOpen: (group: Group) => void): TableRow {
  return {
    key: `${group.hierarchy_id}/${group.group_id}`,
    cells: [
      <div key="name">
        {group.children > 0 ? (
          <button type="button" className={ui["pick"]} aria-label={words.open(group.name, count(group.children))} onClick={() => onOpen(group)}>
            {group.name}
          </button>
        ) : (
          group.name
        )}
        <Sub>
          {group.children > 0 ? words.below(count(group.children)) : group.hierarchy_id}{" "}
          <ScreenLink to={links.node(group.group_id)} label={words.detailsOf(group.name)}>
            {words.details}
          </ScreenLink>
        </Sub>
      </div>,
      <div key="sites">
        {words.sitesOf(count(group.fresh), count(group.sites))}
        {group.suspect > 0 ? <Sub>{words.suspect(count(group.suspect))}</Sub> : null}
      </div>,
      <div key="coverage">
        {share(group.coverage_kw_frac, 1)}
        <Sub>{words.coverageCount(share(group.coverage_count_frac, 1))}</Sub>
      </div>,
      <div key="battery">
        {batteryPhrase(group.expected_kw)}
        <Sub>{strings.figures.range(...batteryRange(group.low_kw, group.high_kw))}</Sub>
      </div>,
      <div key="grid">
        {gridPhrase(group.grid_expected_kw)}
        <Sub>{strings.figures.range(...gridRange(group.grid_low_kw, group.grid_high_kw))}</Sub>
      </div>,
      <div key="firm">
        {words.give(powerSize(group.firm_discharge_kw))}
        <Sub>{words.take(powerSize(group.firm_charge_kw))}</Sub>
      </div>,
      share(group.soc_frac),
      group.oldest_age_s === null ? strings.panel.noValue : duration(group.oldest_age_s),
    ],
  };
}

function Path({ path, onGo }: { path: readonly Group[]; onGo: (depth: number) => void }): ReactElement {
  return (
    <nav aria-label={words.path}>
      <ol className={classes["path"]} data-testid="group-path">
        {[words.top, ...path.map((one) => one.name)].map((name, depth) => (
          <li key={`${depth} ${name}`}>
            {depth === path.length ? (
              <span aria-current="location">{name}</span>
            ) : (
              <button type="button" className={ui["pick"]} onClick={() => onGo(depth)}>
                {name}
              </button>
            )}
          </li>
        ))}
      </ol>
    </nav>
  );
}

function Tools({ opened, onChange }: { opened: Opened; onChange: (part: Partial<Opened>) => void }): ReactElement {
  return (
    <div className={classes["tools"]}>
      <input
        type="search"
        className={classes["field"]}
        aria-label={words.find}
        placeholder={words.find}
        maxLength={200}
        value={opened.text}
        onChange={(event) => onChange({ text: event.currentTarget.value, limit: FIRST_SHOWN })}
      />
      <label className={classes["order"]}>
        {words.order}
        <select
          className={classes["field"]}
          value={opened.order}
          onChange={(event) => onChange({ order: event.currentTarget.value as GroupOrder, limit: FIRST_SHOWN })}
        >
          {ORDERS.map((order) => (
            <option key={order} value={order}>
              {words.orderWords[order]}
            </option>
          ))}
        </select>
      </label>
    </div>
  );
}

function Browser(): ReactElement {
  const [opened, setOpened] = useState<Opened>(AT_THE_TOP);
  const { groups, total, waiting, fault } = useGroups(opened);
  const change = (part: Partial<Opened>): void => setOpened((held) => ({ ...held, ...part }));
  const open = (group: Group): void => {
    // One that was found by its name is opened below what was open, whatever lies between.
    const above = group.parent_id === null ? [] : opened.path.filter((one) => one.hierarchy_id === group.hierarchy_id && one.level < group.level);
    setOpened({ ...AT_THE_TOP, order: opened.order, path: [...above, group] });
  };
  return (
    <>
      <div className={classes["bar"]}>
        <Path path={opened.path} onGo={(depth) => setOpened({ ...AT_THE_TOP, order: opened.order, path: opened.path.slice(0, depth) })} />
        <Tools opened={opened} onChange={change} />
      </div>
      <div role="status" className={classes["status"]}>
        {fault !== null ? words.failed(fault) : waiting ? words.waiting : groups.length === 0 ? words.none : words.shown(count(groups.length), count(total))}
      </div>
      {groups.length > 0 ? <DataTable long caption={words.title} columns={COLUMNS} rows={groups.map((group) => row(group, open))} /> : null}
      {canShowMore(opened, total) ? (
        <div>
          <button type="button" className={ui["button"]} onClick={() => change({ limit: Math.min(opened.limit + FIRST_SHOWN, MOST_SHOWN) })}>
            {words.more}
          </button>
        </div>
      ) : null}
    </>
  );
}

export function GroupsPanel(): ReactElement {
  const roots = useLivePart("groups") ?? [];
  return (
    <Panel title={words.title} hint={words.hint} testId="groups" empty={roots.length === 0 ? words.empty : null}>
      {() => <Browser />}
    </Panel>
  );
}
