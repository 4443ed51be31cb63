/** Alarms: however many stand, at most ten groups by cause, with what each costs; those put aside; those that are over. */
import type { ReactElement } from "react";
import { useSearch, useSetSearch } from "../../app/nav";
import { count } from "../../format/number";
import { usePresence } from "../../live/now";
import { useFeed } from "../../live/store";
import layout from "../../ui/layout.module.css";
import { Panel } from "../../ui/Panel";
import { LOADING, READY, type PanelState } from "../../ui/panelState";
import { Pill } from "../../ui/Pill";
import { Tabs } from "../../ui/Tabs";
import { GroupList } from "./GroupList";
import type { AlarmGroups } from "./groups";
import { History } from "./History";
import { strings } from "./strings";

const words = strings.groups;
const TABS = ["standing", "shelved", "history"] as const;
type Tab = (typeof TABS)[number];

/** How the panel of groups stands. */
export function standing(said: AlarmGroups | null, fault: string | null, tab: Tab, silentS: number | null): PanelState {
  if (fault !== null) return { kind: "error", words: fault };
  if (said === null) return LOADING;
  const shown = said.groups.filter((one) => (one.shelved_until_ms !== null) === (tab === "shelved"));
  if (shown.length === 0) return { kind: "empty", words: tab === "shelved" ? words.shelvedEmpty : said.groups.length > 0 ? words.allShelved : words.empty };
  return silentS === null ? READY : { kind: "stale", ageS: silentS };
}

export default function Screen(): ReactElement {
  const search = useSearch();
  const setSearch = useSetSearch();
  const { value, fault } = useFeed<AlarmGroups>("alarms/groups");
  const { presence, silentS } = usePresence();
  const tab = TABS.find((one) => one === search["tab"]) ?? "standing";
  const old = presence === "stale" || presence === "reconnecting";
  const aside = value?.groups.filter((one) => one.shelved_until_ms !== null) ?? [];
  const awake = value?.groups.filter((one) => one.shelved_until_ms === null) ?? [];
  const badge = (n: number): { badge: ReactElement } | object => (n > 0 ? { badge: <Pill>{count(n)}</Pill> } : {});
  return (
    <div className={layout["screen"]}>
      <h1 className={layout["heading"]}>{strings.title}</h1>
      <Tabs
        label={strings.tabs}
        value={tab}
        onChange={(id) => setSearch({ tab: id === "standing" ? undefined : id, open: undefined })}
        items={[
          { id: "standing", label: strings.tab.standing, ...badge(awake.length) },
          { id: "shelved", label: strings.tab.shelved, ...badge(aside.length) },
          { id: "history", label: strings.tab.history },
        ]}
      >
        {tab === "history" ? (
          <History />
        ) : (
          <Panel
            key={tab}
            title={tab === "shelved" ? strings.tab.shelved : words.title}
            hint={words.hint}
            testId="alarm-groups"
            state={standing(value, fault, tab, old ? silentS : null)}
            actions={value ? <Pill>{words.total(words.alarms(count(value.alarms)))}</Pill> : null}
          >
            {() => (
              <GroupList
                groups={tab === "shelved" ? aside : awake}
                asOfMs={value?.as_of_ms ?? 0}
                open={search["open"] ?? null}
                onOpen={(cause) => setSearch({ open: cause ?? undefined })}
              />
            )}
          </Panel>
        )}
      </Tabs>
    </div>
  );
}
