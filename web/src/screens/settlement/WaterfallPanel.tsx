/** From perfect foresight to money: a bar a step, each with its words; the cents add up. */
import type { ReactElement } from "react";
import { useApi } from "../../api/queries";
import { exactAmount } from "../../format/money";
import { deliveryDay } from "../../format/time";
import { strings as shared } from "../../strings";
import { DataTable } from "../../ui/DataTable";
import { Panel } from "../../ui/Panel";
import { stateOfQuery } from "../../ui/panelState";
import { Pill } from "../../ui/Pill";
import { refusedAsEmpty } from "./refused";
import classes from "./settlement.module.css";
import { strings } from "./strings";
import { barsOf, placesOf, type Fall } from "./words";

const words = strings.fall;
const ARROWS = { adds: shared.direction.up, takes: shared.direction.down, level: "", none: "" } as const;

export function FallBars({ fall }: { fall: Fall }): ReactElement {
  const bars = barsOf(fall);
  const places = placesOf(bars);
  return (
    <ol className={classes["bars"]} data-testid="waterfall-bars">
      {bars.map((bar, i) => (
        <li key={bar.key} data-kind={bar.kind}>
          <span>{bar.label}</span>
          <span className={classes["track"]} aria-hidden>
            <span className={classes["bar"]} data-kind={bar.kind} style={{ left: `${(places[i]?.left ?? 0) * 100}%`, width: `${(places[i]?.width ?? 0) * 100}%` }} />
          </span>
          <span className={classes["sum"]}>
            {bar.kind === "level" ? bar.level : `${ARROWS[bar.kind]} ${bar.change}`}
          </span>
        </li>
      ))}
    </ol>
  );
}

export function FallTable({ fall, title }: { fall: Fall; title: string }): ReactElement {
  return (
    <DataTable
      narrow
      caption={title}
      columns={[{ label: words.step }, { label: words.change, end: true }, { label: words.level, end: true }]}
      rows={barsOf(fall).map((bar) => ({ key: bar.key, cells: [bar.label, bar.change, bar.level] }))}
    />
  );
}

export function WaterfallPanel({ resourceId, day }: { resourceId: string; day: string }): ReactElement {
  const query = useApi("/api/settlement/{resource_id}/{day}/waterfall", { path: { resource_id: resourceId, day } });
  const fall = query.data;
  const title = words.title(deliveryDay(day));
  const unexplained = fall === undefined ? 0 : Number(fall.residual_amount);
  return (
    <Panel
      title={title}
      hint={words.hint}
      testId="waterfall"
      state={refusedAsEmpty(query.error) ?? stateOfQuery(query)}
      onRetry={() => void query.refetch()}
      table={() => (fall ? <FallTable fall={fall} title={title} /> : null)}
    >
      {() =>
        fall ? (
          <>
            <FallBars fall={fall} />
            <p className={classes["note"]}>{fall.settled_as === "metered" ? words.metered : words.settledAs(fall.settled_as)}</p>
            {unexplained === 0 ? null : <Pill tone="bad">{words.residual(exactAmount(Math.round(unexplained * 100), fall.currency))}</Pill>}
          </>
        ) : null
      }
    </Panel>
  );
}
