/** The groups right below one, in the order of what somebody looks for. */
import { useMemo, type ReactElement } from "react";
import { useApi } from "../../api/queries";
import type { Group } from "../../api/types";
import { links } from "../../app/links";
import { ScreenLink, useGo } from "../../app/nav";
import { count, percent } from "../../format/number";
import { IDLE_KW, batteryPhrase, batteryRange, gridPhrase, powerSize } from "../../format/power";
import { duration } from "../../format/time";
import { useWatched } from "../../live/store";
import { strings as shared } from "../../strings";
import { BigTable, type BigColumn } from "../../ui/BigTable";
import { Panel } from "../../ui/Panel";
import { stateOfQuery, type PanelState } from "../../ui/panelState";
import classes from "./node.module.css";
import { strings } from "./strings";

const words = strings.children;
/** As many as the plant lets one page watch, less the group itself. */
const MOST = 190;

export const ORDERS = ["deviation", "coverage", "suspect", "doubt", "power", "sites", "name"] as const;
export type ChildOrder = (typeof ORDERS)[number];

/** The order that an address names; the farthest from its command first when it names none. */
export function orderOf(text: string | undefined): ChildOrder {
  return ORDERS.find((one) => one === text) ?? "deviation";
}

/** How far a group is from what is commanded of it, in words. */
export function deviationWords(one: Pick<Group, "commanded_kw" | "deviation_frac">): string {
  if (one.commanded_kw === null || one.deviation_frac === null) return words.noCommand;
  const commanded = batteryPhrase(one.commanded_kw);
  return one.deviation_frac < 0.005 ? words.asCommanded(commanded) : words.off(percent(one.deviation_frac, 1), commanded);
}

const share = (frac: number | null): string => (frac === null ? shared.panel.noValue : percent(frac, 1));

export const COLUMNS: readonly BigColumn<Group>[] = [
  { id: "name", label: words.name, width: "2fr", cell: (one) => <ScreenLink to={links.node(one.group_id)}>{one.name}</ScreenLink> },
  { id: "sites", label: words.sites, end: true, cell: (one) => words.of(count(one.fresh), count(one.sites)) },
  { id: "deviation", label: words.deviation, width: "2.2fr", cell: deviationWords },
  { id: "coverage", label: words.coverage, end: true, cell: (one) => share(one.coverage_kw_frac) },
  { id: "battery", label: words.battery, width: "1.6fr", cell: (one) => batteryPhrase(one.expected_kw) },
  { id: "range", label: words.range, width: "2.2fr", cell: (one) => (one.high_kw - one.low_kw < IDLE_KW ? words.exact : shared.figures.range(...batteryRange(one.low_kw, one.high_kw))) },
  { id: "grid", label: words.grid, width: "1.6fr", cell: (one) => gridPhrase(one.grid_expected_kw) },
  { id: "firm", label: words.firm, width: "1.4fr", cell: (one) => words.give(powerSize(one.firm_discharge_kw)) },
  { id: "age", label: words.age, end: true, cell: (one) => (one.oldest_age_s === null ? shared.panel.noValue : duration(one.oldest_age_s)) },
];

export function Children({ groupId, order, onOrder }: { groupId: string; order: ChildOrder; onOrder: (order: ChildOrder) => void }): ReactElement {
  const go = useGo();
  const query = useApi("/api/groups", { query: { parent: groupId, order, limit: MOST } }, { everyMs: 5_000, keep: true });
  const page = query.data;
  const ids = useMemo(() => (page?.groups ?? []).map((one) => one.group_id), [page]);
  const watched = useWatched(ids);
  const rows = (page?.groups ?? []).map((one) => watched.get(one.group_id) ?? one);
  let state: PanelState = stateOfQuery(query, (data) => (data.total === 0 ? words.empty : null));
  if (state.kind === "ready" && page && page.total > rows.length) state = { kind: "partial", words: words.partial(count(rows.length), count(page.total)) };
  const choice = (
    <label className={classes["order"]}>
      {words.order}
      <select value={order} onChange={(event) => onOrder(orderOf(event.currentTarget.value))}>
        {ORDERS.map((one) => (
          <option key={one} value={one}>
            {words.orders[one]}
          </option>
        ))}
      </select>
    </label>
  );
  return (
    <Panel title={words.title} hint={words.hint} testId="children" state={state} actions={choice} onRetry={() => void query.refetch()}>
      {() => (
        <BigTable
          caption={words.title}
          columns={COLUMNS}
          rows={rows}
          rowKey={(one) => one.group_id}
          onOpen={(one) => go(links.node(one.group_id))}
          sorted
          height={Math.min(rows.length * 34 + 44, 480)}
          testId="children-table"
        />
      )}
    </Panel>
  );
}
