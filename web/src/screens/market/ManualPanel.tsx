/** Overriding a bid by hand: written, checked by the market's own rules, seen as a change, asked once, sent. */
import { useState, type ReactElement } from "react";
import { RefusedError } from "../../api/client";
import { useAct, useApi } from "../../api/queries";
import { count } from "../../format/number";
import { clock, deliveryDay } from "../../format/time";
import { Button } from "../../ui/Button";
import { useConfirm } from "../../ui/Confirm";
import { Countdown } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { faultWords, stateOfQuery } from "../../ui/panelState";
import { ChangesTable } from "./BidStory";
import { bodyOf, faultsOf, firstForm, openProducts, openStarts, rowsFor, shapeOf, type Faults, type Form, type RuleProduct, type Rules } from "./manual";
import { ManualForm } from "./ManualForm";
import classes from "./market.module.css";
import { strings } from "./strings";
import type { Manual, Resource } from "./words";

const words = strings.manual;
const REFRESH = ["/api/market"];
const ASK_MS = 1_000;
const RULES_MS = 30_000;
const NO_FAULTS: Faults = new Map();
const TOO_LATE = 409;

/** When the gate of the first interval closes. */
function gateOf(product: RuleProduct, form: Form): number {
  const closes = product.start_ms.flatMap((start, i) => (start >= form.firstMs && start <= form.lastMs ? [product.closes_ms[i] ?? start] : []));
  return Math.min(...closes);
}

export interface ManualPanelProps {
  readonly resource: Resource;
  readonly day: string;
  readonly onShow: (key: string) => void;
}

export function ManualPanel({ resource, day, onShow }: ManualPanelProps): ReactElement {
  const query = useApi("/api/market/rules", { query: { resource: resource.resource_id, day } }, { everyMs: RULES_MS, keep: true });
  const nothingOpen = (rules: Rules): string | null => (openProducts(rules).length === 0 ? words.noDay : null);
  return (
    <Panel title={words.title} hint={words.hint} testId="market-manual" state={stateOfQuery(query, nothingOpen)} onRetry={() => void query.refetch()}>
      {() => (query.data ? <Editor rules={query.data} onShow={onShow} /> : null)}
    </Panel>
  );
}

function Editor({ rules, onShow }: { rules: Rules; onShow: (key: string) => void }): ReactElement | null {
  const products = openProducts(rules);
  const [held, setHeld] = useState<Form | null>(null);
  const [faults, setFaults] = useState<Faults>(NO_FAULTS);
  const [refused, setRefused] = useState<string | null>(null);
  const [draft, setDraft] = useState<Manual | null>(null);
  const [sent, setSent] = useState<Manual | null>(null);
  const check = useAct("post", "/api/market/manual", { refresh: ["/api/market/manual"] });
  const submit = useAct("post", "/api/market/manual/{manual_id}/submit", { refresh: REFRESH });
  const withdraw = useAct("post", "/api/market/manual/{manual_id}/withdraw", { refresh: ["/api/market/manual"] });
  const ask = useConfirm();
  const product = products.find((one) => one.product_id === held?.productId) ?? products.find((one) => shapeOf(one) !== null) ?? products[0];
  if (product === undefined) return null;
  const form = held ?? firstForm(rules, product);
  const gateMs = gateOf(product, form);

  /** A refusal in words; one that comes after the gate says when that was. */
  const tell = (error: unknown): void => {
    const late = error instanceof RefusedError && error.status === TOO_LATE && error.field === "gate_ms";
    setRefused(late ? words.tooLate(clock(gateMs, rules.zone)) : faultWords(error));
  };
  const change = (part: Partial<Form>): void => {
    const next = { ...form, ...part };
    const chosen = products.find((one) => one.product_id === next.productId) ?? product;
    const another = next.productId !== form.productId;
    const starts = openStarts(chosen);
    const firstMs = another ? (starts[0] ?? 0) : next.firstMs;
    const moved = { ...next, firstMs, lastMs: another ? firstMs : part.firstMs !== undefined ? Math.max(next.lastMs, firstMs) : next.lastMs };
    const anew = another || part.bandSide !== undefined;
    setHeld(anew ? { ...moved, rows: rowsFor(rules, chosen, moved) } : moved);
    setFaults(NO_FAULTS);
    setRefused(null);
    void discard();
  };
  const discard = async (): Promise<void> => {
    const id = draft?.manual_id;
    setDraft(null);
    // a draft that was never sent changes nothing when it cannot be taken back any more
    if (id) await withdraw.run({ path: { manual_id: id }, body: { reason: words.replaced } }).catch(() => undefined);
  };
  const onCheck = async (): Promise<void> => {
    setRefused(null);
    const made = bodyOf(rules, product, form);
    if ("faults" in made) {
      setFaults(made.faults);
      return;
    }
    setFaults(NO_FAULTS);
    try {
      const answer = await check.run({ body: made.body });
      if (answer.state === "invalid") setFaults(faultsOf(answer.problems, form.rows.length));
      else setDraft(answer);
    } catch (error) {
      tell(error);
    }
  };
  const changesOf = (one: Manual): ReactElement => <ChangesTable changes={one.changes} caption={words.changes} zone={rules.zone} currency={rules.currency} kindOf={(id) => rules.products.find((each) => each.product_id === id)?.kind ?? "energy"} />;
  const onSend = async (one: Manual): Promise<void> => {
    const agreed = await ask({ title: words.askTitle(rules.resource_id, deliveryDay(rules.delivery_date)), body: <>{words.askBody}{changesOf(one)}</>, act: words.send });
    if (agreed === null || one.manual_id === null) return;
    try {
      setSent(await submit.run({ path: { manual_id: one.manual_id } }));
      setDraft(null);
    } catch (error) {
      tell(error);
    }
  };
  if (sent !== null) {
    return (
      <Sent
        resourceId={rules.resource_id}
        manual={sent}
        onShow={onShow}
        onAnother={() => {
          setSent(null);
          setHeld(null);
        }}
      />
    );
  }
  return (
    <>
      <p className={classes["line"]}>
        {words.gateIn} <Countdown toMs={gateMs} over={words.closed} />
      </p>
      <ManualForm rules={rules} products={products} product={product} form={form} faults={faults} onChange={change} onStanding={() => change({ rows: rowsFor(rules, product, form) })} />
      <div role="alert" className={classes["fault"]} data-testid="manual-refused">
        {refused}
      </div>
      {faults.size > 0 ? (
        <p role="alert" className={classes["fault"]}>
          {words.problems(count([...faults.values()].reduce((sum, one) => sum + one.length, 0)))}
        </p>
      ) : null}
      {draft === null ? (
        <div className={classes["buttons"]}>
          <Button kind="primary" busy={check.busy} onClick={() => void onCheck()}>
            {words.check}
          </Button>
        </div>
      ) : (
        <div className={classes["said"]} data-testid="manual-draft">
          <p className={classes["line"]} role="status">
            {words.good}
          </p>
          {changesOf(draft)}
          <div className={classes["buttons"]}>
            <Button onClick={() => void discard()}>{words.discard}</Button>
            <Button kind="primary" busy={submit.busy} onClick={() => void onSend(draft)}>
              {words.send}
            </Button>
          </div>
        </div>
      )}
    </>
  );
}

/** What became of it: it is watched until the market has answered. */
function Sent({ resourceId, manual, onShow, onAnother }: { resourceId: string; manual: Manual; onShow: (key: string) => void; onAnother: () => void }): ReactElement {
  const query = useApi("/api/market/manual", { query: { resource: resourceId } }, { everyMs: ASK_MS });
  const bid = query.data?.manual.find((one) => one.manual_id === manual.manual_id)?.bid ?? manual.bid;
  return (
    <div className={classes["said"]} data-testid="manual-sent" data-state={bid?.state ?? "waiting"}>
      <p className={classes["line"]} role="status">
        {bid ? words.stood(count(bid.revision), strings.states[bid.state]) : words.sent}
      </p>
      <div className={classes["buttons"]}>
        {bid ? (
          <Button kind="primary" onClick={() => onShow(bid.key)}>
            {words.showIt(count(bid.revision))}
          </Button>
        ) : null}
        <Button onClick={onAnother}>{words.another}</Button>
      </div>
    </div>
  );
}
