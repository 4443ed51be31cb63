/** The story of a bid: why it was made so, what it changed, who did what, and the word of a second person. */
import { useState, type ReactElement } from "react";
import { useMay, useSession } from "../../app/session";
import { useAct, useApi } from "../../api/queries";
import { codeWords } from "../../format/market";
import { count, fixed, percent } from "../../format/number";
import { energySize } from "../../format/power";
import { DataTable, Sub } from "../../ui/DataTable";
import { Age, Figure } from "../../ui/figures";
import { FourEyes } from "../../ui/FourEyes";
import { Instant, Interval } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { faultWords, stateOfQuery, type PanelState } from "../../ui/panelState";
import { Pill } from "../../ui/Pill";
import classes from "./market.module.css";
import { moneyWords } from "./money";
import { strings } from "./strings";
import { linesOf, type Change, type Detail, type Row } from "./words";

const REFRESH = ["/api/market"];

function waiting(detail: Detail | undefined, state: PanelState): PanelState {
  return detail === undefined && state.kind === "ready" ? { kind: "loading" } : state;
}

export interface StoryProps {
  readonly detail: Detail | undefined;
  readonly state: PanelState;
}

export function DecisionPanel({ detail, state }: StoryProps): ReactElement {
  const words = strings.decision;
  const held = detail?.decision ?? null;
  const none = detail === undefined || held !== null ? null : detail.bid.author === "" ? words.none : words.byHand;
  return (
    <Panel title={words.title} hint={words.hint} testId="market-decision" state={waiting(detail, state)} empty={none}>
      {() =>
        detail && held ? (
          <>
            <div className={classes["figures"]}>
              <Figure label={words.rung} value={codeWords(held.rung)}>
                {codeWords(held.strategy)}
              </Figure>
              <Figure label={words.asOf} value={<Instant ms={held.as_of_ms} zone={detail.zone} />}>
                {words.trigger(codeWords(held.trigger))}
              </Figure>
              {held.expected_amount === null ? null : (
                <Figure label={words.expected} hint={words.expectedHint} value={moneyWords(held.expected_amount, detail.currency)}>
                  {words.forecastOnly}
                </Figure>
              )}
              <Figure label={words.stored} value={words.storedOf(energySize(held.stored_kwh), energySize(held.capacity_kwh))}>
                {words.silent(percent(held.silent_frac, 1))}
              </Figure>
            </div>
            <Sentences title={words.reasons} lines={held.reasons} />
            <Sentences title={words.relaxed} lines={held.relaxed} />
            <DataTable
              narrow
              caption={words.tried}
              columns={[{ label: words.tried }, { label: words.took, end: true }, { label: words.outcome }]}
              rows={held.tried.map((one, i) => ({ key: `${i} ${one.rung}`, cells: [codeWords(one.rung), `${fixed(one.took_s, 2)} s`, one.outcome === "ok" ? words.held : one.outcome] }))}
            />
            <DataTable
              long
              caption={words.inputs}
              columns={[{ label: words.series }, { label: words.known, end: true }, { label: words.age, end: true }]}
              rows={held.inputs.map((one, i) => ({
                key: `${i} ${one.series_id}`,
                cells: [
                  one.series_id,
                  strings.bids.intervals(count(one.intervals)),
                  one.newest_age_s === null ? words.noFact : <Age seconds={one.newest_age_s} />,
                ],
              }))}
            />
          </>
        ) : null
      }
    </Panel>
  );
}

function Sentences({ title, lines }: { title: string; lines: readonly string[] }): ReactElement | null {
  if (lines.length === 0) return null;
  return (
    <div>
      <h3 className={classes["line"]}>{title}</h3>
      <ul className={classes["list"]}>
        {lines.map((one) => (
          <li key={one}>{one}</li>
        ))}
      </ul>
    </div>
  );
}

export function AuditPanel({ detail, state }: StoryProps): ReactElement {
  const words = strings.audit;
  const receipt = detail?.receipt ?? null;
  return (
    <Panel title={words.title} hint={words.hint} testId="market-audit" state={waiting(detail, state)} empty={detail !== undefined && detail.audit.length === 0 ? words.empty : null}>
      {() =>
        detail ? (
          <>
            <DataTable
              caption={words.title}
              columns={[{ label: words.when }, { label: words.who }, { label: words.what }, { label: words.said }]}
              rows={detail.audit.map((one, i) => ({
                key: `${i} ${one.at_ms}`,
                cells: [<Instant key="when" ms={one.at_ms} zone={detail.zone} show="clock" />, one.by, strings.states[one.what as Row["state"]] ?? one.what, one.said],
              }))}
            />
            {receipt === null ? null : (
              <p className={classes["line"]} data-testid="market-receipt">
                <Pill tone={receipt.state === "rejected" ? "bad" : "calm"}>{words.market(strings.states[receipt.state])}</Pill> <Instant ms={receipt.received_ms} zone={detail.zone} show="clock" />
                {receipt.field === "" ? null : <> {words.refusal(receipt.field, receipt.value, receipt.fix)}</>}
              </p>
            )}
          </>
        ) : null
      }
    </Panel>
  );
}

function Lines({ lines }: { lines: readonly string[] }): ReactElement {
  if (lines.length === 0) return <>{strings.diff.nothing}</>;
  return (
    <div className={classes["lines"]}>
      {lines.map((one) => (
        <span key={one}>{one}</span>
      ))}
    </div>
  );
}

/** What stood and what stands, interval by interval. */
export function ChangesTable({ changes, caption, zone, currency, kindOf }: { changes: readonly Change[]; caption: string; zone: string; currency: string; kindOf?: (product: string) => "energy" | "capacity" }): ReactElement {
  const words = strings.diff;
  return (
    <DataTable
      long
      caption={caption}
      columns={[{ label: words.interval }, { label: words.change }, { label: words.before }, { label: words.after }]}
      rows={changes.map((one) => {
        const kind = kindOf?.(one.product) ?? "energy";
        return {
          key: `${one.product} ${one.start_ms} ${one.kind}`,
          cells: [
            <>
              <Interval startMs={one.start_ms} endMs={one.end_ms} zone={zone} />
              <Sub>{one.name}</Sub>
            </>,
            words.kinds[one.kind],
            <Lines key="before" lines={linesOf(kind, { steps: one.before, points: one.before_points, powerMw: one.before_power_mw }, currency)} />,
            <Lines key="after" lines={linesOf(kind, { steps: one.after, points: one.after_points, powerMw: one.after_power_mw }, currency)} />,
          ],
        };
      })}
    />
  );
}

export interface DiffProps {
  readonly bidKey: string;
  readonly revision: number;
  readonly rows: readonly Row[];
  readonly against: string | undefined;
  readonly zone: string;
  readonly currency: string;
  readonly onAgainst: (key: string | undefined) => void;
}

export function DiffPanel({ bidKey, revision, rows, against, zone, currency, onAgainst }: DiffProps): ReactElement {
  const words = strings.diff;
  const query = useApi("/api/market/bids/{key}/diff", { path: { key: bidKey }, query: against === undefined ? {} : { against } }, { keep: true });
  const diff = query.data?.key === bidKey ? query.data : undefined;
  const others = rows.filter((one) => one.key !== bidKey);
  const other = diff?.against_revision == null ? words.nothing : words.revision(count(diff.against_revision));
  const title = words.title(count(revision), other);
  return (
    <Panel
      title={title}
      hint={words.hint}
      testId="market-diff"
      state={diff === undefined && !query.isError ? { kind: "loading" } : stateOfQuery(query)}
      onRetry={() => void query.refetch()}
    >
      {() =>
        diff ? (
          <>
            {others.length === 0 ? null : (
              <label className={classes["field"]}>
                {words.against}
                <select value={against ?? diff.against} onChange={(event) => onAgainst(event.target.value === "" ? undefined : event.target.value)}>
                  {diff.against === "" ? <option value="">{words.nothing}</option> : null}
                  {others.map((one) => (
                    <option key={one.key} value={one.key}>
                      {`${words.revision(count(one.revision))}, ${strings.states[one.state]}`}
                    </option>
                  ))}
                </select>
              </label>
            )}
            {diff.changes.length === 0 ? <p className={classes["note"]}>{words.none}</p> : <ChangesTable changes={diff.changes} caption={title} zone={zone} currency={currency} />}
            {diff.same_intervals === 0 ? null : <p className={classes["note"]}>{words.same(count(diff.same_intervals))}</p>}
          </>
        ) : null
      }
    </Panel>
  );
}

export function ApprovalPanel({ detail }: { detail: Detail }): ReactElement {
  const words = strings.approve;
  const { session } = useSession();
  const mayDecide = useMay("trade");
  const approve = useAct("post", "/api/market/bids/{key}/approve", { refresh: REFRESH });
  const refuse = useAct("post", "/api/market/bids/{key}/refuse", { refresh: REFRESH });
  const [said, setSaid] = useState<string | null>(null);
  const { bid } = detail;
  const decide =
    (act: typeof approve | typeof refuse, held: boolean) =>
    async (note: string): Promise<void> => {
      const args = { path: { key: bid.key }, body: { reason: note, content_digest: bid.content_digest } };
      const answer = await act.run(args).catch((error: unknown) => {
        throw new Error(faultWords(error));
      });
      setSaid(answer.may_go ? words.approved : held ? words.notYet(answer.words) : words.refused);
    };
  return (
    <Panel title={words.title} hint={words.content(bid.content_digest.slice(0, 8))} testId="market-approval" state={{ kind: "ready" }}>
      {() => (
        <>
          <p className={classes["line"]}>{bid.approval_words}</p>
          {said === null ? null : (
            <p className={classes["line"]} role="status">
              {said}
            </p>
          )}
          <FourEyes
            proposal={{ by: bid.author === "" ? strings.machine : bid.author, atMs: bid.created_ms, reason: detail.rebid_reason || bid.rung_reason }}
            me={session?.name ?? null}
            mayDecide={mayDecide}
            onApprove={decide(approve, true)}
            onRefuse={decide(refuse, false)}
          />
        </>
      )}
    </Panel>
  );
}
