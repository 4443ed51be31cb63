/** Settlement of a resource: its days, and of the chosen one where its money went, down to each interval. */
import type { ReactElement } from "react";
import { links } from "../../app/links";
import { ScreenLink, useParam, useSearch, useSetSearch } from "../../app/nav";
import { useApi } from "../../api/queries";
import { useLivePart } from "../../live/store";
import layout from "../../ui/layout.module.css";
import { Panel } from "../../ui/Panel";
import { DayPanels } from "./DayPanels";
import { DaysPanel } from "./DaysPanel";
import classes from "./settlement.module.css";
import { strings } from "./strings";

export interface Place {
  readonly resourceId: string;
  readonly name: string;
  readonly search: Readonly<Record<string, string>>;
  readonly onSearch: (part: Record<string, string | undefined>) => void;
}

/** Everything of one resource; the day of the address, else the newest that is settled. */
export function Settled({ resourceId, name, search, onSearch }: Place): ReactElement {
  const { from, to } = search;
  const days = useApi("/api/settlement", { query: { resource: resourceId, from: from ?? null, to: to ?? null } }, { keep: true });
  const newest = days.data?.days.find((one) => one.net_cents !== null) ?? days.data?.days[0];
  const day = search["day"] ?? newest?.delivery_date ?? "";
  return (
    <>
      <DaysPanel resourceId={resourceId} name={name} from={from} to={to} chosen={day} onChoose={(chosen) => onSearch({ day: chosen })} onSpan={onSearch} />
      {day === "" ? null : <DayPanels resourceId={resourceId} day={day} />}
    </>
  );
}

export default function Screen(): ReactElement {
  const resources = useLivePart("resources");
  const wanted = useParam("resourceId");
  const search = useSearch();
  const setSearch = useSetSearch();
  const chosen = wanted === "" ? resources?.[0]?.resource_id : wanted;
  const name = resources?.find((one) => one.resource_id === chosen)?.name ?? chosen ?? "";
  return (
    <div className={layout["screen"]}>
      <h1 className={classes["heading"]}>{name === "" ? strings.title : strings.heading(name)}</h1>
      {resources === null || resources.length > 1 ? (
        <nav aria-label={strings.resources}>
          <ul className={classes["resources"]}>
            {(resources ?? []).map((one) => (
              <li key={one.resource_id}>
                <ScreenLink to={links.settlement(one.resource_id)} current={one.resource_id === chosen}>
                  {one.name}
                </ScreenLink>
              </li>
            ))}
          </ul>
        </nav>
      ) : null}
      {chosen === undefined ? (
        <Panel title={strings.title} parts={["resources"]} empty={strings.none}>
          {() => null}
        </Panel>
      ) : (
        <Settled key={chosen} resourceId={chosen} name={name} search={search} onSearch={setSearch} />
      )}
    </div>
  );
}
