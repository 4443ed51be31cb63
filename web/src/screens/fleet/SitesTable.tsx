/** The sites as a table: filtered and sorted by the plant. */
import type { ReactElement } from "react";
import type { Schema } from "../../api/client";
import { useApi } from "../../api/queries";
import { links } from "../../app/links";
import { useGo, ScreenLink } from "../../app/nav";
import { count, percent } from "../../format/number";
import { duration } from "../../format/time";
import { strings as shared } from "../../strings";
import { BigTable, type BigColumn } from "../../ui/BigTable";
import { PowerWords } from "../../ui/figures";
import { Panel } from "../../ui/Panel";
import { stateOfQuery, type PanelState } from "../../ui/panelState";
import { Severity } from "../../ui/Severity";
import { isNarrowed, queryOf, type SiteFilter } from "./siteFilter";
import { strings } from "./strings";

const words = strings.sites;
type Hit = Schema["SiteHit"];
const MOST = 1_000;

const COLUMNS: readonly BigColumn<Hit>[] = [
  { id: "name", label: words.name, width: "1.4fr", cell: (one) => <ScreenLink to={links.site(one.site_id)}>{one.site_id}</ScreenLink> },
  { id: "where", label: words.where, width: "2fr", cell: (one) => (one.group_id === null ? shared.panel.noValue : <ScreenLink to={links.node(one.group_id)}>{one.group_path.at(-1)}</ScreenLink>) },
  { id: "grade", label: words.grade, cell: (one) => words.grades[one.grade] },
  { id: "age", label: words.age, end: true, cell: (one) => (one.age_s === null ? words.never : words.old(duration(one.age_s))) },
  { id: "power", label: words.power, width: "1.6fr", cell: (one) => <PowerWords kw={one.battery_kw} kind="battery" /> },
  { id: "soc", label: words.soc, end: true, cell: (one) => (one.soc_frac === null ? shared.panel.noValue : percent(one.soc_frac)) },
  { id: "alarm", label: words.alarm, width: "1.2fr", cell: (one) => (one.alarm === null ? words.noAlarm : <Severity value={one.alarm} />) },
];

export default function SitesTable({ filter }: { filter: SiteFilter }): ReactElement {
  const go = useGo();
  const query = useApi("/api/sites/search", { query: { ...queryOf(filter), order: filter.order, limit: MOST } }, { everyMs: 3_000, keep: true });
  const hits = query.data;
  let state: PanelState = stateOfQuery(query, (data) => (data.total > 0 ? null : isNarrowed(filter) ? words.none : words.noSites));
  if (state.kind === "ready" && hits) {
    const said = [hits.total > hits.rows.length ? words.partialTable(count(hits.rows.length), count(hits.total)) : "", hits.unanswered > 0 ? words.unanswered(count(hits.unanswered)) : ""].filter((one) => one !== "");
    if (said.length > 0) state = { kind: "partial", words: said.join(" ") };
  }
  return (
    <Panel title={words.title} hint={words.tableHint} testId="sites" state={state} onRetry={() => void query.refetch()}>
      {() => <BigTable caption={words.title} columns={COLUMNS} rows={hits?.rows ?? []} rowKey={(one) => one.site_id} onOpen={(one) => go(links.site(one.site_id))} sorted height={420} testId="sites-table" />}
    </Panel>
  );
}
