/** What was decided and why, and what it was decided from, as old as it was then. */
import type { ReactElement, ReactNode } from "react";
import type { Schema } from "../../api/client";
import { codeWords } from "../../format/market";
import { exactAmount } from "../../format/money";
import { count, percent } from "../../format/number";
import { energySize } from "../../format/power";
import { duration } from "../../format/time";
import { DataTable, Sub } from "../../ui/DataTable";
import { Figure } from "../../ui/figures";
import { Instant, useZone } from "../../ui/Instant";
import layout from "../../ui/layout.module.css";
import { Panel } from "../../ui/Panel";
import { Pill } from "../../ui/Pill";
import type { Held } from "./Run";
import classes from "./run.module.css";
import { strings } from "./strings";

type Decision = Schema["RunDecision"];

function Facts({ rows }: { rows: readonly (readonly [string, ReactNode])[] }): ReactElement {
  return (
    <dl className={classes["facts"]}>
      {rows.flatMap(([label, value]) => [<dt key={`${label} is`}>{label}</dt>, <dd key={label}>{value}</dd>])}
    </dl>
  );
}

function Sentences({ label, said }: { label: string; said: readonly string[] }): ReactElement | null {
  if (said.length === 0) return null;
  return (
    <div>
      <Sub>{label}</Sub>
      <ul className={classes["list"]}>
        {said.map((one, i) => (
          <li key={`${i} ${one}`}>{one}</li>
        ))}
      </ul>
    </div>
  );
}

function expectedWords(decision: Decision): string {
  const words = strings.decision;
  return decision.expected_amount === null ? words.none : exactAmount(Math.round(Number(decision.expected_amount) * 100), decision.currency);
}

function Decided({ decision }: { decision: Decision }): ReactElement {
  const words = strings.decision;
  const lower = decision.better_rungs > 0;
  return (
    <>
      <p className={classes["note"]}>
        <strong>{codeWords(decision.rung)}</strong> <Pill tone={lower ? "warn" : "calm"}>{lower ? words.lower(count(decision.better_rungs)) : words.best}</Pill>
      </p>
      <Facts
        rows={[
          ...(decision.reason === "" ? [] : [[words.why, decision.reason] as const]),
          [words.trigger, words.triggers[decision.trigger] ?? codeWords(decision.trigger)],
          [
            words.expected,
            <>
              {expectedWords(decision)}
              {decision.expected_amount === null ? null : <Sub>{words.expectedHow}</Sub>}
            </>,
          ],
          [words.strategy, `${decision.strategy} ${decision.strategy_version}`],
          [words.id, decision.decision_id],
        ]}
      />
      <Sentences label={words.reasons} said={decision.reasons} />
      <Sentences label={words.relaxed} said={decision.relaxed} />
      <Sentences label={words.withheld} said={decision.withheld} />
    </>
  );
}

export function DecisionPanel({ state, detail, onRetry }: Held): ReactElement {
  const words = strings.decision;
  const none = detail && detail.decision === null;
  const empty = none ? (detail.bid === null ? words.settle : words.hand(detail.bid.author)) : null;
  return (
    <Panel title={words.title} hint={words.hint} testId="run-decision" state={state} empty={empty} onRetry={onRetry}>
      {() => (detail?.decision ? <Decided decision={detail.decision} /> : null)}
    </Panel>
  );
}

function InputsTable({ decision, zone }: { decision: Decision; zone: string }): ReactElement {
  const words = strings.inputs;
  return (
    <DataTable
      caption={words.title}
      columns={[{ label: words.series }, { label: words.age, end: true }, { label: words.reaches }, { label: words.intervals, end: true }, { label: words.source }, { label: words.state }]}
      rows={decision.inputs.map((one) => ({
        key: one.series_id,
        cells: [
          one.series_id,
          one.age_s === null ? strings.unknown : words.ago(duration(one.age_s)),
          one.reaches_ms === null ? strings.unknown : <Instant key="to" ms={one.reaches_ms} zone={zone} />,
          count(one.intervals),
          one.source === "" ? strings.unknown : one.source,
          <div key="state">
            <Pill tone={one.state === "stale" || one.state === "missing" ? "warn" : "calm"}>{words.states[one.state]}</Pill>
            {one.stale_after_s === null ? null : <Sub>{words.limit(duration(one.stale_after_s))}</Sub>}
          </div>,
        ],
      }))}
    />
  );
}

export function InputsPanel({ state, detail, onRetry }: Held): ReactElement {
  const words = strings.inputs;
  const ours = useZone();
  const decision = detail?.decision;
  return (
    <Panel title={words.title} hint={words.hint} testId="run-inputs" state={state} empty={detail && !decision ? words.noneKept : null} onRetry={onRetry}>
      {() =>
        decision ? (
          <>
            <div className={layout["thirds"]}>
              <Figure label={words.stored} value={words.storedValue(energySize(decision.stored_kwh), energySize(decision.capacity_kwh))}>
                <Instant ms={decision.as_of_ms} zone={detail.zone || ours} show="clock" />
              </Figure>
              <Figure label={words.silent} value={decision.silent_frac === 0 ? words.nothingSilent : percent(decision.silent_frac, 1)} />
              <Figure label={words.standing} value={decision.standing_revision === null ? words.noStanding : words.revision(count(decision.standing_revision))} />
            </div>
            {decision.inputs.length === 0 ? <p className={classes["note"]}>{words.empty}</p> : <InputsTable decision={decision} zone={detail.zone || ours} />}
          </>
        ) : null
      }
    </Panel>
  );
}
