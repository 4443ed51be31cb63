/** The sites in one state, and the way to one by its name. */
import { useState, type FormEvent, type ReactElement } from "react";
import { useApi } from "../../api/queries";
import { links } from "../../app/links";
import { ScreenLink, useGo, useSearch, useSetSearch } from "../../app/nav";
import { count, percent } from "../../format/number";
import { codeWords } from "../../format/market";
import { DataTable } from "../../ui/DataTable";
import { Age, PowerWords } from "../../ui/figures";
import layout from "../../ui/layout.module.css";
import { Panel } from "../../ui/Panel";
import { stateOfQuery } from "../../ui/panelState";
import ui from "../../ui/ui.module.css";
import classes from "./Screen.module.css";
import { strings } from "./strings";

const STATES = ["any", "silent", "stale", "unknown", "suspect", "fresh"] as const;
type State = (typeof STATES)[number];
const LIMIT = 100;
const EVERY_MS = 10_000;

export function stateOf(asked: string | undefined): State {
  return STATES.find((one) => one === asked) ?? "any";
}

export function SiteList({ state, onState, onGo }: { state: State; onState: (state: State) => void; onGo: (siteId: string) => void }): ReactElement {
  const words = strings.list;
  const [name, setName] = useState("");
  const query = useApi("/api/twins", { query: { state, limit: LIMIT } }, { everyMs: EVERY_MS, keep: true });
  const go = (event: FormEvent): void => {
    event.preventDefault();
    if (name.trim() !== "") onGo(name.trim());
  };
  const page = query.data;
  return (
    <div className={layout["screen"]}>
      <h1 className={classes["name"]}>{strings.listTitle}</h1>
      <form className={classes["filters"]} onSubmit={go}>
        <label className={ui["field"]}>
          {words.name}
          <input className={ui["input"]} data-search value={name} onChange={(event) => setName(event.target.value)} autoComplete="off" spellCheck={false} />
        </label>
        <button type="submit" className={ui["button"]}>
          {words.go}
        </button>
        <label className={ui["field"]}>
          {words.state}
          <select className={ui["input"]} value={state} onChange={(event) => onState(stateOf(event.target.value))}>
            {STATES.map((one) => (
              <option key={one} value={one}>
                {words.stateWords[one]}
              </option>
            ))}
          </select>
        </label>
      </form>
      <Panel title={words.title} hint={words.hint} state={stateOfQuery(query, (data) => (data.twins.length === 0 ? words.empty : null))} onRetry={() => void query.refetch()} testId="site-list">
        {() =>
          page === undefined ? null : (
            <>
              <p className={classes["dim"]}>{words.shown(count(page.twins.length), count(page.more ? page.looked_at : page.sites), page.more)}</p>
              <DataTable
                caption={words.caption}
                columns={[{ label: words.site }, { label: words.state }, { label: words.battery }, { label: words.charge, end: true }, { label: words.heard }, { label: words.flags }]}
                rows={page.twins.map((one) => ({
                  key: one.site_id,
                  cells: [
                    <ScreenLink key="site" to={links.site(one.site_id)} className={classes["link"]}>
                      {one.site_id}
                    </ScreenLink>,
                    one.grade,
                    <PowerWords key="battery" kw={one.battery_kw} kind="battery" />,
                    one.soc_frac === null ? strings.now.notMeasured : percent(one.soc_frac),
                    <Age key="age" seconds={one.age_s} {...(one.grade === "fresh" ? {} : { staleAfterS: 0 })} />,
                    one.flags.map(codeWords).join(", "),
                  ],
                }))}
              />
            </>
          )
        }
      </Panel>
    </div>
  );
}

export default function List(): ReactElement {
  const search = useSearch();
  const setSearch = useSetSearch();
  const go = useGo();
  return <SiteList state={stateOf(search["state"])} onState={(state) => setSearch({ state: state === "any" ? undefined : state })} onGo={(siteId) => go(links.site(siteId))} />;
}
