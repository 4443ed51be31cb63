/** Where the batteries are: every group with its coverage, age and range, never a bare sum. */
import type { ReactElement } from "react";
import { percent, count } from "../../format/number";
import { batteryPhrase, batteryRange, gridPhrase } from "../../format/power";
import { duration } from "../../format/time";
import { useLivePart } from "../../live/store";
import { strings } from "../../strings";
import { DataTable, Sub } from "../../ui/DataTable";
import { Panel } from "../../ui/Panel";
import { inTreeOrder } from "./tree";

const words = strings.groups;
const SHOWN = 60;

export function GroupsPanel(): ReactElement {
  const groups = useLivePart("groups") ?? [];
  const ordered = inTreeOrder(groups);
  return (
    <Panel title={words.title} hint={words.hint} testId="groups" empty={groups.length === 0 ? words.empty : null}>
      {() => (
        <>
          <DataTable
            long
            caption={words.title}
            columns={[
              { label: words.name },
              { label: words.sites, end: true },
              { label: words.coverage, end: true },
              { label: words.battery },
              { label: words.grid },
              { label: words.soc, end: true },
              { label: words.age, end: true },
            ]}
            rows={ordered.slice(0, SHOWN).map(({ group, depth }) => ({
              key: `${group.hierarchy_id}/${group.group_id}`,
              cells: [
                <span key="name" style={{ paddingInlineStart: depth * 14 }}>
                  {group.name}
                </span>,
                words.sitesOf(count(group.fresh), count(group.sites)),
                percent(group.coverage_kw_frac, 1),
                <div key="battery">
                  {batteryPhrase(group.battery_kw)}
                  <Sub>{strings.figures.batteryRange(...batteryRange(group.low_kw, group.high_kw))}</Sub>
                </div>,
                gridPhrase(group.grid_kw),
                group.soc_frac === null ? strings.panel.noValue : percent(group.soc_frac),
                group.oldest_age_s === null ? strings.panel.noValue : duration(group.oldest_age_s),
              ],
            }))}
          />
          {ordered.length > SHOWN ? <Sub>{words.more(count(ordered.length - SHOWN))}</Sub> : null}
        </>
      )}
    </Panel>
  );
}
