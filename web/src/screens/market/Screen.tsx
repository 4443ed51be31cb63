/** The market of a resource: what is expected, what is bid and why, and what is planned; each a tab that an address can name. */
import type { ReactElement } from "react";
import { links } from "../../app/links";
import { ScreenLink, useParam, useSearch, useSetSearch } from "../../app/nav";
import { useApi } from "../../api/queries";
import { useLivePart } from "../../live/store";
import layout from "../../ui/layout.module.css";
import { Panel } from "../../ui/Panel";
import { stateOfQuery } from "../../ui/panelState";
import { Tabs } from "../../ui/Tabs";
import { BidsTab } from "./BidsTab";
import { Gates } from "./Gates";
import classes from "./market.module.css";
import { PlanTab } from "./PlanTab";
import { PricesTab } from "./PricesTab";
import { strings } from "./strings";
import { usualDay, type Resource } from "./words";

const ASK_MS = 3_000;
const TABS = ["prices", "bids", "plan"] as const;
type Tab = (typeof TABS)[number];

function tabOf(name: string | undefined): Tab {
  return TABS.find((one) => one === name) ?? "prices";
}

export interface MarketProps {
  /** From the address; empty for the first there is. */
  readonly wanted: string;
  readonly search: Readonly<Record<string, string>>;
  readonly onSearch: (part: Record<string, string | undefined>) => void;
}

export function Market({ wanted, search, onSearch }: MarketProps): ReactElement {
  const query = useApi("/api/market/products", {}, { everyMs: ASK_MS });
  const resources = query.data?.resources ?? [];
  const resource = wanted === "" ? resources[0] : resources.find((one) => one.resource_id === wanted);
  const several = resources.length > 1;
  const told = useLivePart("resources");
  const nameOf = (id: string): string => told?.find((one) => one.resource_id === id)?.name ?? id;
  if (resource === undefined) {
    return (
      <div className={layout["screen"]}>
        <h1 className={classes["heading"]}>{strings.title}</h1>
        <Panel
          title={strings.resources}
          state={stateOfQuery(query, (data) => (data.resources.length === 0 ? strings.none : strings.noSuch(wanted)))}
          onRetry={() => void query.refetch()}
        >
          {() => null}
        </Panel>
        {several ? <Resources chosen="" resources={resources} nameOf={nameOf} /> : null}
      </div>
    );
  }
  const ours = query.data?.products.filter((one) => one.resource_id === resource.resource_id) ?? [];
  const tab = tabOf(search["tab"]);
  const day = search["day"] ?? usualDay(ours);
  return (
    <div className={layout["screen"]}>
      <h1 className={classes["heading"]}>{strings.heading(nameOf(resource.resource_id))}</h1>
      {several ? <Resources chosen={resource.resource_id} resources={resources} nameOf={nameOf} /> : null}
      <Gates resource={resource} products={ours} state={stateOfQuery(query)} />
      <Tabs label={strings.tabs} items={TABS.map((id) => ({ id, label: strings.tab[id] }))} value={tab} onChange={(id) => onSearch({ tab: id })}>
        <div className={layout["column"]}>
          {tab === "prices" ? <PricesTab resource={resource} products={ours} productsState={stateOfQuery(query)} onBids={(chosen) => onSearch({ tab: "bids", day: chosen, bid: undefined })} /> : null}
          {tab === "bids" ? <BidsTab resource={resource} day={day} search={search} onSearch={onSearch} /> : null}
          {tab === "plan" ? <PlanTab resource={resource} /> : null}
        </div>
      </Tabs>
    </div>
  );
}

function Resources({ chosen, resources, nameOf }: { chosen: string; resources: readonly Resource[]; nameOf: (id: string) => string }): ReactElement {
  return (
    <nav aria-label={strings.resources}>
      <ul className={classes["resources"]}>
        {resources.map((one) => (
          <li key={one.resource_id}>
            <ScreenLink to={links.market(one.resource_id)} current={one.resource_id === chosen}>
              {nameOf(one.resource_id)}
            </ScreenLink>
          </li>
        ))}
      </ul>
    </nav>
  );
}

export default function Screen(): ReactElement {
  const wanted = useParam("resourceId");
  return <Market key={wanted} wanted={wanted} search={useSearch()} onSearch={useSetSearch()} />;
}
