/** One run: its steps against the gate, what was decided from what, and whether it comes out the same again. */
import type { ReactElement } from "react";
import { useApi } from "../../api/queries";
import { links } from "../../app/links";
import { ScreenLink, useParam } from "../../app/nav";
import { SCREENS } from "../../app/screens";
import { codeWords } from "../../format/market";
import { deliveryDay } from "../../format/time";
import { useNowMs } from "../../live/now";
import { useLivePart } from "../../live/store";
import { Breadcrumb } from "../../ui/Breadcrumb";
import layout from "../../ui/layout.module.css";
import { stateOfQuery, type PanelState } from "../../ui/panelState";
import { Pill } from "../../ui/Pill";
import { DecisionPanel, InputsPanel } from "./Known";
import { ReplayPanel } from "./Replay";
import classes from "./run.module.css";
import { Marks } from "./Screen";
import { strings } from "./strings";
import { TimePanel } from "./Timeline";
import { marksOf, toneOf, type Detail } from "./words";

const ASK_MS = 15_000;

export interface Held {
  readonly state: PanelState;
  readonly detail: Detail | undefined;
  readonly onRetry: () => void;
}

interface See {
  readonly screen: string;
  readonly to: string;
  readonly label: string;
}

/** Where else this run shows; only screens that there are. */
function SeeAlso({ detail }: { detail: Detail }): ReactElement {
  const { resource_id: resource, delivery_date: day } = detail.run;
  const found: See[] = [
    { screen: "/market/$resourceId", to: links.market(resource, { tab: "bids", day }), label: strings.links.market },
    { screen: "/settlement/$resourceId", to: links.settlement(resource, { day }), label: strings.links.settlement },
    { screen: "/alarms", to: links.alarms(), label: strings.links.alarms },
    { screen: "/runs", to: links.runs({ resource, day }), label: strings.links.runs },
  ];
  const there = new Set(SCREENS.map((one) => one.path));
  return (
    <nav aria-label={strings.links.label}>
      <ul className={classes["links"]}>
        {found
          .filter((one) => there.has(one.screen))
          .map((one) => (
            <li key={one.label}>
              <ScreenLink to={one.to}>{one.label}</ScreenLink>
            </li>
          ))}
      </ul>
    </nav>
  );
}

export function OneRun({ workflowId }: { workflowId: string }): ReactElement {
  const query = useApi("/api/runs/{run_id}", { path: { run_id: workflowId } }, { everyMs: ASK_MS });
  const resources = useLivePart("resources") ?? [];
  const nowMs = useNowMs();
  const detail = query.data;
  const held: Held = { state: stateOfQuery(query), detail, onRetry: () => void query.refetch() };
  const name = resources.find((one) => one.resource_id === detail?.run.resource_id)?.name ?? detail?.run.resource_id ?? "";
  const what = detail ? (strings.kinds[detail.run.kind] ?? codeWords(detail.run.kind)) : strings.one;
  const marks = detail ? marksOf(detail.run, nowMs) : [];
  const told = detail?.late && !marks.includes("late") ? (["late", ...marks] as const) : marks;
  return (
    <>
      <Breadcrumb items={[{ label: strings.title, to: links.runs() }, { label: detail ? strings.list.of(what, deliveryDay(detail.run.delivery_date)) : workflowId }]} />
      <div className={classes["head"]}>
        <h1 className={layout["heading"]}>{detail ? strings.heading(what, name) : strings.one}</h1>
        {detail ? <Pill tone={toneOf(detail.run.status)}>{codeWords(detail.run.status)}</Pill> : null}
        <Marks marks={told} />
      </div>
      {detail ? <SeeAlso detail={detail} /> : null}
      <TimePanel {...held} />
      <div className={layout["pair"]}>
        <DecisionPanel {...held} />
        <ReplayPanel {...held} workflowId={workflowId} />
      </div>
      <InputsPanel {...held} />
    </>
  );
}

export default function Screen(): ReactElement {
  const workflowId = useParam("workflowId");
  return (
    <div className={layout["screen"]}>
      <OneRun key={workflowId} workflowId={workflowId} />
    </div>
  );
}
