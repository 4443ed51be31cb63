/** What waits for a second person: what it would come to, who asks, and the decision of somebody else. */
import type { ReactElement } from "react";
import { useAct, useApi } from "../../api/queries";
import { links } from "../../app/links";
import { ScreenLink } from "../../app/nav";
import { useMay, useSession } from "../../app/session";
import { batteryPhrase, powerSize } from "../../format/power";
import { useNowMs } from "../../live/now";
import { Button } from "../../ui/Button";
import { FourEyes } from "../../ui/FourEyes";
import { Instant } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { faultWords, stateOfQuery } from "../../ui/panelState";
import { Pill } from "../../ui/Pill";
import ui from "../../ui/ui.module.css";
import classes from "./dispatch.module.css";
import type { Proposal } from "./records";
import { rangeWords } from "./said";
import { strings } from "./strings";

const words = strings.waiting;
const EVERY_MS = 2_000;
const REFRESH = { refresh: ["/api/dispatch", "/api/commands", "/api/events"] };

/** A refusal of the plant with what to do about it, as the part that decides shows it. */
async function told<T>(act: Promise<T>): Promise<void> {
  try {
    await act;
  } catch (error) {
    throw new Error(faultWords(error));
  }
}

/** One proposal, and what the reader may do about it. */
export function ProposalCard({ proposal, open = false }: { proposal: Proposal; open?: boolean }): ReactElement {
  const mayDecide = useMay("operate");
  const { session } = useSession();
  const now = useNowMs();
  const path = { proposal_id: proposal.proposal_id };
  const approve = useAct("post", "/api/dispatch/proposals/{proposal_id}/approve", REFRESH);
  const refuse = useAct("post", "/api/dispatch/proposals/{proposal_id}/refuse", REFRESH);
  const withdraw = useAct("post", "/api/dispatch/proposals/{proposal_id}/withdraw", REFRESH);
  const me = session?.name ?? null;
  const waits = proposal.state === "waiting";
  const seen = proposal.preview;
  return (
    <div className={classes["proposal"]} data-testid="proposal" data-state={proposal.state}>
      <div className={classes["head"]}>
        <h3 className={classes["subtitle"]}>{open ? <ScreenLink to={links.dispatch(proposal.proposal_id, { proposal: "1" })}>{proposal.title}</ScreenLink> : proposal.title}</h3>
        <Pill tone={waits ? "warn" : "calm"}>{words.decided(words.state[proposal.state] ?? proposal.state, proposal.decided_by)}</Pill>
      </div>
      <p className={classes["said"]}>
        {words.kinds[proposal.kind] ?? proposal.kind}
        {"; "}
        {words.power(powerSize(proposal.power_kw))}
        {waits ? (
          <>
            {". "}
            {words.expires} <Instant ms={proposal.expires_ms} show={now !== null && proposal.expires_ms - now < 86_400_000 ? "time" : "dayHour"} />
          </>
        ) : null}
      </p>
      <p className={classes["said"]}>{seen === null ? words.previewNone : words.preview(`${batteryPhrase(seen.expected_kw)}, ${rangeWords(seen.low_kw, seen.high_kw)}`)}</p>
      {waits ? (
        <FourEyes
          proposal={{ by: proposal.by, atMs: proposal.at_ms, reason: proposal.reason }}
          me={me}
          mayDecide={mayDecide}
          onApprove={(note) => told(approve.run({ path, body: { note } }))}
          onRefuse={(note) => told(refuse.run({ path, body: { note } }))}
        />
      ) : (
        <p className={classes["said"]}>
          {[proposal.by, proposal.reason, proposal.note].filter((one) => one !== "").join(": ")}
          {proposal.state === "approved" && proposal.order_id !== "" ? (
            <>
              {". "}
              <ScreenLink to={links.dispatch(proposal.order_id)}>{words.toOrder}</ScreenLink>
            </>
          ) : null}
        </p>
      )}
      {waits && me === proposal.by && mayDecide ? (
        <div className={ui["buttons"]}>
          <Button busy={withdraw.busy} onClick={() => void withdraw.run({ path, body: { note: "" } }).catch(() => undefined)}>
            {words.withdraw}
          </Button>
        </div>
      ) : null}
      {withdraw.fault === null ? null : (
        <p role="alert" className={ui["fault"]}>
          {withdraw.fault}
        </p>
      )}
    </div>
  );
}

export function Waiting(): ReactElement {
  const query = useApi("/api/dispatch/proposals", { query: { state: "waiting", limit: 100 } }, { everyMs: EVERY_MS, keep: true });
  const page = query.data;
  const hint = page && page.above_kw !== null ? words.hintAbove(powerSize(page.above_kw)) : words.hint;
  return (
    <Panel title={words.title} hint={hint} testId="waiting" state={stateOfQuery(query, (data) => (data.rows.length > 0 ? null : data.above_kw === null ? words.emptyNever : words.empty))} onRetry={() => void query.refetch()}>
      {() => (page ? page.rows.map((one) => <ProposalCard key={one.proposal_id} proposal={one} open />) : null)}
    </Panel>
  );
}
