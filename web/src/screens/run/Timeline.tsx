/** The way from the decision to the gate, drawn; below it each step with what it took of its time. */
import type { ReactElement } from "react";
import { codeWords } from "../../format/market";
import { duration, hourMinute } from "../../format/time";
import { DataTable } from "../../ui/DataTable";
import { Instant, useZone } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { Pill } from "../../ui/Pill";
import type { Held } from "./Run";
import classes from "./run.module.css";
import { strings } from "./strings";
import { placesOf, sentWords, shareOf, tookWords, type Detail, type Place, type Step } from "./words";

const words = strings.time;
const OK = "ok";
const NEAR = 0.12;

interface Stop extends Place {
  readonly label: string;
}

/** The stops with their words; what was sent as soon as it was decided is one stop. */
function stopsOf(places: readonly Place[], zone: string): Stop[] {
  const found: Stop[] = [];
  for (const one of places) {
    const said = `${words[one.key]} ${hourMinute(one.atMs, zone)}`;
    const before = found.at(-1);
    if (before && one.key === "sent" && one.at - before.at < NEAR) found[found.length - 1] = { ...before, label: words.and(before.label, said) };
    else found.push({ ...one, label: said });
  }
  return found;
}

function Stops({ places, zone }: { places: readonly Place[]; zone: string }): ReactElement {
  return (
    <>
      {stopsOf(places, zone).map((one) => {
        const edge = one.at < NEAR ? "first" : one.at > 1 - NEAR ? "last" : undefined;
        return (
          <div
            key={one.key}
            className={classes["stop"]}
            data-key={one.key}
            data-edge={edge}
            style={{ left: `${one.at * 100}%` }}
          >
            <span className={classes["label"]}>{one.label}</span>
            <span className={classes["pin"]} />
          </div>
        );
      })}
    </>
  );
}

/** The way itself is for the eye: what it says stands beside it in words. */
function Way({ detail, zone }: { detail: Detail; zone: string }): ReactElement | null {
  const places = placesOf(detail);
  const [first] = places;
  const sent = places.find((one) => one.key === "sent");
  const gate = places.at(-1);
  if (!first || !gate) return null;
  const said = words.chart(hourMinute(first.atMs, zone), sent ? words.sentAt(hourMinute(sent.atMs, zone)) : words.notSent, hourMinute(gate.atMs, zone));
  return (
    <div className={classes["way"]} role="img" aria-label={said} data-testid="run-way">
      <span className={classes["line"]} />
      {sent ? <span className={classes["done"]} style={{ left: `${first.at * 100}%`, width: `${Math.max(sent.at - first.at, 0) * 100}%` }} /> : null}
      <Stops places={places} zone={zone} />
    </div>
  );
}

function Took({ step }: { step: Step }): ReactElement {
  return <>{step.budget_s === null ? tookWords(step.took_s) : words.ofBudget(tookWords(step.took_s), duration(step.budget_s))}</>;
}

function Outcome({ step }: { step: Step }): ReactElement {
  if (step.outcome === OK) return <Pill>{step.held ? words.held : OK}</Pill>;
  return <>{step.phase === "decide" ? <Pill tone="warn">{step.outcome}</Pill> : step.outcome === step.name ? codeWords(step.outcome) : step.outcome}</>;
}

function Steps({ steps }: { steps: readonly Step[] }): ReactElement {
  return (
    <ol className={classes["steps"]} data-testid="run-steps">
      {steps.map((step, i) => {
        const share = shareOf(step);
        return (
          <li key={`${i} ${step.name}`}>
            <span>
              {words.phases[step.phase]}: {codeWords(step.name)}
            </span>
            <span className={classes["track"]} aria-hidden>
              {share === null ? null : <span className={classes["fill"]} style={{ width: `${share * 100}%` }} />}
            </span>
            <span className={classes["took"]}>
              <Took step={step} />
            </span>
            <span className={classes["outcome"]}>
              <Outcome step={step} />
            </span>
          </li>
        );
      })}
    </ol>
  );
}

function StepsTable({ detail, zone }: { detail: Detail; zone: string }): ReactElement {
  return (
    <DataTable
      caption={detail.gate === null ? words.settled : words.title}
      columns={[{ label: words.step }, { label: words.begins }, { label: words.took, end: true }, { label: words.budget, end: true }, { label: words.outcome }, { label: words.by }]}
      rows={[
        ...detail.steps.map((step, i) => ({
          key: `${i} ${step.name}`,
          cells: [
            `${words.phases[step.phase]}: ${codeWords(step.name)}`,
            <Instant key="at" ms={step.start_ms} zone={zone} show="clock" />,
            tookWords(step.took_s),
            step.budget_s === null ? words.noBudget : duration(step.budget_s),
            step.outcome,
            step.by,
          ],
        })),
        ...(detail.gate === null
          ? []
          : [{ key: "gate", cells: [words.gateAt, <Instant key="at" ms={detail.gate.closes_ms} zone={zone} show="clock" />, "", "", sentWords(detail), detail.gate.market_id] }]),
      ]}
    />
  );
}

export function TimePanel({ state, detail, onRetry }: Held): ReactElement {
  const ours = useZone();
  const zone = detail?.zone || ours;
  const settled = detail !== undefined && detail.gate === null;
  return (
    <Panel
      title={settled ? words.settled : words.title}
      hint={settled ? words.hintSettled : words.hint}
      testId="run-time"
      state={state}
      empty={detail && detail.steps.length === 0 && detail.gate === null ? words.empty : null}
      onRetry={onRetry}
      table={() => (detail ? <StepsTable detail={detail} zone={zone} /> : null)}
    >
      {() =>
        detail ? (
          <>
            {detail.gate === null ? null : (
              <>
                <Way detail={detail} zone={zone} />
                <p className={classes["note"]}>
                  {sentWords(detail)} {words.gateAt} <Instant ms={detail.gate.closes_ms} zone={zone} show="clock" />.
                </p>
              </>
            )}
            <Steps steps={detail.steps} />
          </>
        ) : null
      }
    </Panel>
  );
}
