/** The last runs of the bidding workflow: the rung each took, why, and what each step needed. */
import type { ReactElement } from "react";
import type { WorkflowRun, WorkflowStep } from "../../api/types";
import { codeWords } from "../../format/market";
import { dayHour, deliveryDay, duration } from "../../format/time";
import { useLivePart } from "../../live/store";
import { strings } from "../../strings";
import { DataTable, Sub } from "../../ui/DataTable";
import { Panel } from "../../ui/Panel";
import { Pill, type Tone } from "../../ui/Pill";
import classes from "./RunsPanel.module.css";

const words = strings.runs;
const SHOWN = 8;

const FINE = new Set(["ok", "success", "succeeded", "done", "accepted", "completed", "finished", "skipped", "submitted"]);
const BAD = new Set(["error", "failed", "failure", "rejected", "cancelled"]);
const WARN = new Set(["timeout", "timed_out", "unknown", "retried", "fallback"]);

function toneOf(word: string): Tone {
  const code = word.toLowerCase();
  if (BAD.has(code)) return "bad";
  return WARN.has(code) ? "warn" : "calm";
}

function Steps({ steps }: { steps: readonly WorkflowStep[] }): ReactElement {
  return (
    <ol className={classes["steps"]}>
      {steps.map((step, i) => (
        <li key={`${step.name}/${i}`}>
          {codeWords(step.name)} <span className={classes["took"]}>{duration(step.took_s)}</span>
          {FINE.has(step.outcome.toLowerCase()) ? null : <Pill tone={toneOf(step.outcome)}>{codeWords(step.outcome)}</Pill>}
        </li>
      ))}
    </ol>
  );
}

function took(run: WorkflowRun): string {
  return run.finished_ms === null ? words.running : duration(run.steps.reduce((sum, step) => sum + step.took_s, 0));
}

export function RunsPanel(): ReactElement {
  const runs = useLivePart("runs") ?? [];
  const resources = useLivePart("resources") ?? [];
  const zone = useLivePart("zone") ?? "UTC";
  const latest = [...runs].sort((a, b) => b.started_ms - a.started_ms).slice(0, SHOWN);
  return (
    <Panel title={words.title} hint={words.hint} testId="runs" empty={runs.length === 0 ? words.empty : null}>
      {() => (
        <DataTable
          caption={words.title}
          columns={[
            { label: words.day },
            { label: words.resource },
            { label: words.rung },
            { label: words.steps },
            { label: words.took, end: true },
            { label: words.status },
          ]}
          rows={latest.map((run) => ({
            key: run.workflow_id,
            cells: [
              <div key="day">
                {deliveryDay(run.delivery_date)}
                <Sub>{words.started(dayHour(run.started_ms, zone))}</Sub>
              </div>,
              resources.find((one) => one.resource_id === run.resource_id)?.name ?? run.resource_id,
              <div key="rung">
                {codeWords(run.rung)}
                {run.rung_reason ? <Sub>{run.rung_reason}</Sub> : null}
              </div>,
              <Steps key="steps" steps={run.steps} />,
              took(run),
              <Pill key="status" tone={toneOf(run.status)}>
                {codeWords(run.status).toLowerCase()}
              </Pill>,
            ],
          }))}
        />
      )}
    </Panel>
  );
}
