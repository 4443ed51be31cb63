/** Programs: which goes first, who takes part, what stands for each. */
import type { ReactElement } from "react";
import { useApi } from "../../api/queries";
import { links } from "../../app/links";
import { ScreenLink } from "../../app/nav";
import { count } from "../../format/number";
import { duration } from "../../format/time";
import { DataTable, Sub } from "../../ui/DataTable";
import { Instant } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { stateOfQuery } from "../../ui/panelState";
import classes from "./admin.module.css";
import { strings } from "./strings";
import { serviceWords, type ProgramAdmin } from "./words";

const words = strings.programs;
const EVERY_MS = 15_000;

function termsOf(one: ProgramAdmin): string {
  return strings.and([
    one.exclusive ? words.exclusive : words.shared,
    one.minimum_notice_s > 0 ? words.notice(duration(one.minimum_notice_s)) : words.noNotice,
    one.pays === "nothing" ? words.paysNothing : words.pays(one.pays),
    ...(one.may_opt_out ? [] : [words.stays]),
  ]);
}

function Standing({ program }: { program: ProgramAdmin }): ReactElement {
  return (
    <div>
      {program.standing_orders === 0 && program.services.length === 0 ? strings.none : null}
      {program.standing_orders > 0 ? words.orders(count(program.standing_orders)) : null}
      {program.next_order_ms === null ? null : (
        <Sub>
          {words.nextOrder("")} <Instant ms={program.next_order_ms} />
        </Sub>
      )}
      {serviceWords(program).map((line) => (
        <Sub key={line}>{line}</Sub>
      ))}
    </div>
  );
}

export function ProgramsTab(): ReactElement {
  const query = useApi("/api/admin/programs", {}, { everyMs: EVERY_MS });
  const data = query.data;
  return (
    <Panel title={words.title} hint={words.hint} testId="admin-programs" state={stateOfQuery(query, (said) => (said.programs.length === 0 ? words.empty : null))} onRetry={() => void query.refetch()}>
      {() =>
        data === undefined ? null : (
          <>
            <DataTable
              caption={words.title}
              columns={[{ label: words.program }, { label: words.place, end: true }, { label: words.kind }, { label: words.sites }, { label: words.terms }, { label: words.standing }]}
              rows={data.programs.map((one) => ({
                key: one.program_id,
                cells: [
                  <div key="program">
                    {one.name}
                    <Sub>{one.program_id}</Sub>
                  </div>,
                  count(one.place),
                  words.kindWords[one.kind] ?? one.kind,
                  <div key="sites">
                    {one.asks_everybody ? words.everybody : words.sitesOf(count(one.sites), count(data.sites))}
                    {one.opted_out_sites > 0 ? <Sub>{words.optedOut(count(one.opted_out_sites))}</Sub> : null}
                  </div>,
                  <div key="terms">
                    {termsOf(one)}
                    {one.terms === "" ? null : <Sub>{one.terms}</Sub>}
                  </div>,
                  <Standing key="standing" program={one} />,
                ],
              }))}
            />
            <p className={classes["count"]}>
              {data.sites_with_hours > 0 ? words.ownHours(count(data.sites_with_hours)) : null} <ScreenLink to={links.sites()} className={classes["link"]}>{words.sitesLink}</ScreenLink>
            </p>
          </>
        )
      }
    </Panel>
  );
}
