/** Administration: people, devices, programs, markets, feeds, the system, and who did what. */
import type { ReactElement } from "react";
import { useSearch, useSetSearch } from "../../app/nav";
import { useMay } from "../../app/session";
import layout from "../../ui/layout.module.css";
import { Tabs } from "../../ui/Tabs";
import ui from "../../ui/ui.module.css";
import { AuditTab } from "./AuditTab";
import { DevicesTab } from "./DevicesTab";
import { FeedsTab } from "./FeedsTab";
import { MarketsTab } from "./MarketsTab";
import { ProgramsTab } from "./ProgramsTab";
import { strings } from "./strings";
import { SystemTab } from "./SystemTab";
import { UsersTab } from "./UsersTab";
import { SEEN, TABS, tabOf, type Tab } from "./words";

const PARTS: Record<Tab, () => ReactElement> = {
  users: UsersTab,
  devices: DevicesTab,
  programs: ProgramsTab,
  markets: MarketsTab,
  feeds: FeedsTab,
  system: SystemTab,
  audit: AuditTab,
};

export default function Screen(): ReactElement {
  const search = useSearch();
  const setSearch = useSetSearch();
  const administers = useMay("administer");
  const shown = administers ? TABS : SEEN;
  const tab = tabOf(search["tab"], shown);
  const Part = PARTS[tab];
  // what another tab was asked for means nothing here
  const others = Object.fromEntries(Object.keys(search).map((name) => [name, undefined]));
  return (
    <div className={layout["screen"]}>
      <h1 className={layout["heading"]}>{strings.title}</h1>
      {administers ? null : <p className={ui["hint"]}>{strings.mayNot}</p>}
      <Tabs label={strings.tabs} value={tab} onChange={(id) => setSearch({ ...others, tab: id })} items={shown.map((id) => ({ id, label: strings.tab[id] }))}>
        <div className={layout["column"]}>
          <Part key={tab} />
        </div>
      </Tabs>
    </div>
  );
}
