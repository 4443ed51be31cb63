/** The frame of every panel: title, what it tells, and its states (loading, empty, stale, partial, failed). */
import { Skeleton } from "@mantine/core";
import { useId, useState, type ReactElement, type ReactNode } from "react";
import type { LiveState } from "../api/types";
import { duration } from "../format/time";
import { usePresence } from "../live/now";
import { useLive, type LiveView } from "../live/store";
import { strings } from "../strings";
import { Button } from "./Button";
import { ErrorBoundary } from "./ErrorBoundary";
import { LOADING, READY, type PanelState } from "./panelState";
import { Pill } from "./Pill";
import classes from "./ui.module.css";

export interface PanelProps {
  readonly title: string;
  readonly hint?: string;
  readonly testId?: string;
  /** How what is shown stands; left out, it is live and here. */
  readonly state?: PanelState;
  /** Parts of the live state that it needs: it is loading until they are here. */
  readonly parts?: readonly (keyof LiveState)[];
  /** Said instead of the content when there is nothing to show. */
  readonly empty?: string | null;
  readonly actions?: ReactNode;
  /** The same as a table, on request: every chart has it. */
  readonly table?: () => ReactNode;
  /** How to try again after a fault. */
  readonly onRetry?: () => void;
  readonly children: () => ReactNode;
}

/** Renders inside the boundary, so that a fault while making the content is caught there. */
function Content({ make }: { make: () => ReactNode }): ReactNode {
  return make();
}

/** How a panel stands, all told; what is missing of the live state comes first. */
export function standing(view: Pick<LiveView, "state">, props: Pick<PanelProps, "state" | "parts" | "empty">): PanelState {
  const { state = READY, parts, empty } = props;
  if (parts?.some((part) => view.state?.[part] === undefined)) return LOADING;
  if (state.kind === "ready" && empty) return { kind: "empty", words: empty };
  return state;
}

function badgeOf(state: PanelState, old: boolean): string | null {
  if (state.kind === "stale") return state.ageS === null ? strings.panel.staleBadge : strings.panel.staleFor(duration(state.ageS));
  if (state.kind === "partial") return strings.panel.partialBadge;
  return old && state.kind === "ready" ? strings.panel.staleBadge : null;
}

export function Panel(props: PanelProps): ReactElement {
  const id = useId();
  const [asTable, setAsTable] = useState(false);
  const kind = useLive((view) => standing(view, props).kind);
  const state: PanelState = kind === "loading" ? LOADING : (props.state ?? READY);
  const { presence } = usePresence();
  const live = props.state === undefined;
  const badge = badgeOf(state, live && (presence === "stale" || presence === "reconnecting"));
  const filled = kind === "ready" || kind === "stale" || kind === "partial";
  const toggle = asTable ? strings.panel.showChart(props.title) : strings.panel.showTable(props.title);
  const said = state.kind === "empty" ? state.words : props.empty;
  return (
    <section className={classes["panel"]} aria-labelledby={id} aria-busy={kind === "loading"} data-testid={props.testId} data-state={kind}>
      <div className={classes["head"]}>
        <div>
          <h2 id={id} className={classes["title"]}>
            {props.title}
          </h2>
          {props.hint ? <p className={classes["hint"]}>{props.hint}</p> : null}
        </div>
        <div className={classes["actions"]}>
          {badge === null ? null : <Pill tone="warn">{badge}</Pill>}
          {props.actions}
          {props.table && filled ? (
            <Button label={toggle} onClick={() => setAsTable(!asTable)}>
              {asTable ? strings.panel.chart : strings.panel.table}
            </Button>
          ) : null}
        </div>
      </div>
      {kind === "loading" ? (
        <div role="status" aria-label={strings.panel.loading(props.title)}>
          <Skeleton height={120} />
        </div>
      ) : null}
      {kind === "empty" ? <p className={classes["message"]}>{said}</p> : null}
      {state.kind === "partial" ? <p className={classes["message"]}>{state.words}</p> : null}
      {state.kind === "error" ? (
        <div role="alert" className={classes["message"]}>
          {state.words}{" "}
          {props.onRetry ? (
            <Button onClick={props.onRetry} label={strings.panel.retryNamed(props.title)}>
              {strings.panel.retry}
            </Button>
          ) : null}
        </div>
      ) : null}
      {filled ? (
        <ErrorBoundary>
          <Content key={asTable ? "table" : "chart"} make={asTable && props.table ? props.table : props.children} />
        </ErrorBoundary>
      ) : null}
    </section>
  );
}
