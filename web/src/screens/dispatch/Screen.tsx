/** Dispatch: what runs, what is planned, what waits for a second person, what is past. */
import { useState, type ReactElement } from "react";
import { useApi } from "../../api/queries";
import { links } from "../../app/links";
import { ScreenLink, useSearch, useSetSearch } from "../../app/nav";
import { count, percent } from "../../format/number";
import { strings as shared } from "../../strings";
import { Allowed } from "../../ui/Allowed";
import { Button } from "../../ui/Button";
import { DataTable, Sub } from "../../ui/DataTable";
import { Interval } from "../../ui/Instant";
import layout from "../../ui/layout.module.css";
import { Panel } from "../../ui/Panel";
import { stateOfQuery } from "../../ui/panelState";
import { Pill } from "../../ui/Pill";
import { Tabs } from "../../ui/Tabs";
import classes from "./dispatch.module.css";
import type { OrderRow } from "./records";
import { askedWords, powerWords } from "./said";
import { strings } from "./strings";
import { Waiting } from "./Waiting";

const words = strings.list;
const TABS = ["running", "planned", "waiting", "past"] as const;
type Tab = (typeof TABS)[number];
type Phase = Exclude<Tab, "waiting">;
const PAGE = 50;
const MOST = 500;
const EVERY_MS = { running: 2_000, planned: 5_000, past: 5_000 };
const COLUMNS = [{ label: words.order }, { label: words.when }, { label: words.asked }, { label: words.measured }, { label: words.coverage, end: true }, { label: words.sites, end: true }, { label: words.by }, { label: words.state }];

/** How an order stands: where it is in time, unless somebody has ended it. */
export function stateWords(row: Pick<OrderRow, "phase" | "state">): string {
  return row.state === "standing" ? words.phaseWords[row.phase] : (words.stateWords[row.state] ?? row.state);
}

function rowOf(row: OrderRow): { key: string; cells: (string | ReactElement)[] } {
  return {
    key: row.order_id,
    cells: [
      <div key="order">
        <ScreenLink to={links.dispatch(row.order_id)}>{row.title}</ScreenLink>
        <Sub>{row.for_whom === "" ? row.program : row.for_whom}</Sub>
      </div>,
      <Interval key="when" startMs={row.start_ms} endMs={row.end_ms} />,
      askedWords(row.asked_kw),
      row.phase === "running" ? powerWords(row.measured_kw) : "",
      row.phase !== "running" ? "" : row.coverage_frac === null ? shared.panel.noValue : percent(row.coverage_frac, 1),
      count(row.sites),
      <div key="by">
        {row.by}
        {row.approved_by === "" ? null : <Sub>{words.approvedBy(row.approved_by)}</Sub>}
        {row.reason === "" ? null : <Sub>{row.reason}</Sub>}
      </div>,
      <div key="state">
        {stateWords(row)}
        {row.trial === "" ? null : <Sub>{words.trial(row.trial)}</Sub>}
      </div>,
    ],
  };
}

function Orders({ phase }: { phase: Phase }): ReactElement {
  const [limit, setLimit] = useState(PAGE);
  const query = useApi("/api/dispatch", { query: { phase, limit } }, { everyMs: EVERY_MS[phase], keep: true });
  const page = query.data;
  return (
    <Panel title={words.tab[phase]} hint={words.hint[phase]} testId="orders" state={stateOfQuery(query, (data) => (data.rows.length === 0 ? words.empty[phase] : null))} onRetry={() => void query.refetch()}>
      {() =>
        page ? (
          <>
            <DataTable caption={words.tab[phase]} columns={COLUMNS} rows={page.rows.map(rowOf)} />
            {page.total > page.rows.length ? <p className={classes["hint"]}>{words.shown(count(page.rows.length), count(page.total))}</p> : null}
            {page.total > page.rows.length && limit < MOST ? (
              <div>
                <Button onClick={() => setLimit(Math.min(limit + 150, MOST))}>{words.more}</Button>
              </div>
            ) : null}
          </>
        ) : null
      }
    </Panel>
  );
}

export function List({ tab, onTab }: { tab: Tab; onTab: (tab: Tab) => void }): ReactElement {
  const counts = useApi("/api/dispatch", { query: { limit: 1 } }, { everyMs: 5_000, keep: true }).data?.counts ?? {};
  const items = TABS.map((id) => {
    const n = counts[id] ?? 0;
    return { id, label: words.tab[id], ...(n > 0 && id !== "past" ? { badge: <Pill tone={id === "waiting" ? "warn" : "calm"}>{count(n)}</Pill> } : {}) };
  });
  return (
    <Tabs label={words.tabs} items={items} value={tab} onChange={(id) => onTab(id as Tab)}>
      {tab === "waiting" ? <Waiting /> : <Orders key={tab} phase={tab} />}
    </Tabs>
  );
}

export default function Screen(): ReactElement {
  const search = useSearch();
  const setSearch = useSetSearch();
  return (
    <div className={layout["screen"]}>
      <div className={classes["head"]}>
        <h1 className={layout["heading"]}>{strings.title}</h1>
        <Allowed right="operate">
          <ScreenLink to={links.newDispatch()} className={classes["begin"]}>
            {strings.begin}
          </ScreenLink>
        </Allowed>
      </div>
      <List tab={TABS.find((one) => one === search["tab"]) ?? "running"} onTab={(tab) => setSearch({ tab: tab === "running" ? undefined : tab })} />
    </div>
  );
}
