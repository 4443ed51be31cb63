/** The frame of every panel: title, what it tells, and its four states (loading, empty, not up to date, failed). */
import { Skeleton } from "@mantine/core";
import { useId, useState, type ReactElement, type ReactNode } from "react";
import { usePresence } from "../live/now";
import { useLive } from "../live/store";
import { strings } from "../strings";
import { ErrorBoundary } from "./ErrorBoundary";
import { Pill } from "./Pill";
import classes from "./ui.module.css";

export interface PanelProps {
  readonly title: string;
  readonly hint?: string;
  readonly testId?: string;
  /** Said instead of the content when there is nothing to show. */
  readonly empty?: string | null;
  readonly actions?: ReactNode;
  /** The same as a table, on request: every chart has it. */
  readonly table?: () => ReactNode;
  readonly children: () => ReactNode;
}

/** Renders inside the boundary, so that a fault while making the content is caught there. */
function Content({ make }: { make: () => ReactNode }): ReactNode {
  return make();
}

export function Panel(props: PanelProps): ReactElement {
  const id = useId();
  const [asTable, setAsTable] = useState(false);
  const waiting = useLive((view) => view.state === null);
  const { presence } = usePresence();
  const old = !waiting && (presence === "stale" || presence === "reconnecting");
  const filled = !waiting && !props.empty;
  const toggle = asTable ? strings.panel.showChart(props.title) : strings.panel.showTable(props.title);
  return (
    <section className={classes["panel"]} aria-labelledby={id} aria-busy={waiting} data-testid={props.testId}>
      <div className={classes["head"]}>
        <div>
          <h2 id={id} className={classes["title"]}>
            {props.title}
          </h2>
          {props.hint ? <p className={classes["hint"]}>{props.hint}</p> : null}
        </div>
        <div className={classes["actions"]}>
          {old ? <Pill tone="warn">{strings.panel.staleBadge}</Pill> : null}
          {props.actions}
          {props.table && filled ? (
            <button type="button" className={classes["button"]} aria-label={toggle} onClick={() => setAsTable(!asTable)}>
              {asTable ? strings.panel.chart : strings.panel.table}
            </button>
          ) : null}
        </div>
      </div>
      {waiting ? <Skeleton height={120} /> : null}
      {!waiting && props.empty ? <p className={classes["message"]}>{props.empty}</p> : null}
      {filled ? (
        <ErrorBoundary>
          <Content key={asTable ? "table" : "chart"} make={asTable && props.table ? props.table : props.children} />
        </ErrorBoundary>
      ) : null}
    </section>
  );
}
