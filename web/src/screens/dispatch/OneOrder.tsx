/** One order: what it asks, how it goes, how to extend or abort it; and of a proposal, the decision on it. */
import { useState, type ReactElement } from "react";
import { useAct, useApi } from "../../api/queries";
import { links } from "../../app/links";
import { useParam, useSearch } from "../../app/nav";
import { useMay } from "../../app/session";
import { count } from "../../format/number";
import { batteryPhrase } from "../../format/power";
import { dayHour } from "../../format/time";
import { usePresence } from "../../live/now";
import { useFeed } from "../../live/store";
import { Breadcrumb } from "../../ui/Breadcrumb";
import { Button } from "../../ui/Button";
import { useConfirm } from "../../ui/Confirm";
import { Interval, useZone } from "../../ui/Instant";
import layout from "../../ui/layout.module.css";
import { Panel } from "../../ui/Panel";
import { faultWords, stateOfQuery } from "../../ui/panelState";
import { Pill } from "../../ui/Pill";
import classes from "./dispatch.module.css";
import { ExtendDialog } from "./ExtendDialog";
import { AuditPanel, NowPanel, OrderFeeders, TrackPanel } from "./OrderPanels";
import type { OrderDetail, OrderNow, OrderRow } from "./records";
import { askedWords, rangeWords } from "./said";
import { stateWords } from "./Screen";
import { strings } from "./strings";
import { ProposalCard } from "./Waiting";

const words = strings.order;
const EVERY_MS = 3_000;
const REFRESH = { refresh: ["/api/dispatch", "/api/commands", "/api/events"] };

function scopeWords(row: OrderRow): string {
  if (row.fleet) return strings.fleet;
  return [...row.scope_groups, ...row.scope_sites].join(", ") || strings.none;
}

function Facts({ detail }: { detail: OrderDetail }): ReactElement {
  const { row, preview } = detail;
  const facts: [string, ReactElement | string][] = [
    [words.asked, askedWords(row.asked_kw)],
    [words.when, <Interval key="when" startMs={row.start_ms} endMs={row.end_ms} />],
    [words.scope, scopeWords(row)],
    [words.program, row.program],
    [words.by, row.by],
    ...(row.approved_by === "" ? [] : ([[words.approved, row.approved_by]] as [string, string][])),
    ...(row.reason === "" ? [] : ([[words.why, row.reason]] as [string, string][])),
    [words.foreseen, preview === null ? words.foreseenNone : words.foreseenWords(batteryPhrase(preview.expected_kw), rangeWords(preview.low_kw, preview.high_kw))],
  ];
  return (
    <dl className={classes["facts"]}>
      {facts.map(([name, value]) => (
        <div key={name} style={{ display: "contents" }}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Extends and aborts an order that is ahead or under way. */
function Acts({ row, measured }: { row: OrderRow; measured: string }): ReactElement {
  const confirm = useConfirm();
  const zone = useZone();
  const [extending, setExtending] = useState(false);
  const [said, setSaid] = useState("");
  const end = useAct("post", "/api/commands/orders/{order_id}/end", REFRESH);
  const change = useAct("post", "/api/commands/orders/{order_id}/change", REFRESH);
  const changeCall = useAct("post", "/api/events/{event_id}/change", REFRESH);
  const abort = async (): Promise<void> => {
    setSaid("");
    const sites = count(row.sites);
    const answer = await confirm({
      title: words.abortTitle,
      body: row.phase === "planned" ? words.abortBodyPlanned(sites) : words.abortBody(sites, measured),
      act: words.abortAct,
      danger: true,
      needReason: true,
    });
    if (answer === null) return;
    await end.run({ path: { order_id: row.order_id }, body: { now: true, reason: answer.reason } }).catch((error: unknown) => setSaid(words.failed(faultWords(error))));
  };
  const extend = async (untilMs: number, reason: string): Promise<void> => {
    const body = { revision: row.revision, end_ms: untilMs, reason };
    await (row.kind === "call" ? changeCall.run({ path: { event_id: row.order_id }, body }) : change.run({ path: { order_id: row.order_id }, body }));
    setSaid(words.extended(dayHour(untilMs, zone)));
  };
  if (row.phase === "past" || row.state !== "standing") return <></>;
  return (
    <>
      <div className={classes["side"]}>
        <Button label={words.extendNamed(row.title)} onClick={() => setExtending(true)}>
          {words.extend}
        </Button>
        <Button kind="danger" busy={end.busy} label={words.abortNamed(row.title)} onClick={() => void abort()}>
          {words.abort}
        </Button>
      </div>
      <p role="status" className={classes["said"]} data-testid="order-said">
        {said}
      </p>
      {extending ? <ExtendDialog row={row} zone={zone} onExtend={extend} onClose={() => setExtending(false)} /> : null}
    </>
  );
}

export function OneOrder({ orderId }: { orderId: string }): ReactElement {
  const mayAct = useMay("operate");
  const query = useApi("/api/dispatch/orders/{order_id}", { path: { order_id: orderId } }, { everyMs: EVERY_MS });
  const detail = query.data;
  const { presence, silentS } = usePresence();
  const feed = useFeed<OrderNow>(detail && detail.row.phase !== "past" ? `order/${orderId}` : null);
  const row = detail?.row;
  const old = presence === "stale" || presence === "reconnecting";
  return (
    <>
      <Panel
        title={row?.title ?? words.title}
        testId="order"
        state={stateOfQuery(query)}
        onRetry={() => void query.refetch()}
        actions={row ? <Pill tone={row.state === "standing" && row.phase === "running" ? "live" : "calm"}>{stateWords(row)}</Pill> : null}
      >
        {() =>
          detail ? (
            <>
              <Facts detail={detail} />
              {mayAct ? <Acts row={detail.row} measured={askedWords(feed.value?.measured_kw ?? detail.row.measured_kw ?? detail.row.asked_kw)} /> : null}
            </>
          ) : null
        }
      </Panel>
      {detail && row ? (
        <>
          <NowPanel now={feed.value} fault={feed.fault} row={row} silentS={old ? silentS : null} />
          <TrackPanel row={row} now={feed.value} />
          <OrderFeeders now={feed.value} fault={feed.fault} row={row} silentS={old ? silentS : null} />
          {detail.proposal === null ? null : (
            <Panel title={strings.waiting.title1} state={{ kind: "ready" }}>
              {() => (detail.proposal ? <ProposalCard proposal={detail.proposal} open /> : null)}
            </Panel>
          )}
          <AuditPanel steps={detail.steps} />
        </>
      ) : null}
    </>
  );
}

/** A proposal by itself, until it has become an order and after. */
export function OneProposal({ proposalId }: { proposalId: string }): ReactElement {
  const query = useApi("/api/dispatch/proposals/{proposal_id}", { path: { proposal_id: proposalId } }, { everyMs: EVERY_MS });
  return (
    <Panel title={strings.waiting.title1} hint={strings.waiting.hint} testId="one-proposal" state={stateOfQuery(query)} onRetry={() => void query.refetch()}>
      {() => (query.data ? <ProposalCard proposal={query.data} /> : null)}
    </Panel>
  );
}

export default function Screen(): ReactElement {
  const orderId = useParam("orderId");
  const proposal = useSearch()["proposal"] === "1";
  return (
    <div className={layout["screen"]}>
      <Breadcrumb items={[{ label: words.all, to: links.dispatches(proposal ? { tab: "waiting" } : {}) }, { label: orderId }]} />
      <h1 className={layout["heading"]}>{proposal ? strings.waiting.title1 : words.title}</h1>
      {proposal ? <OneProposal key={orderId} proposalId={orderId} /> : <OneOrder key={orderId} orderId={orderId} />}
    </div>
  );
}
