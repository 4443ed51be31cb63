/** What a trader has to know at any time: how long until the next gate, how our bid for it stands, and who has a say. */
import type { ReactElement } from "react";
import { links } from "../../app/links";
import { ScreenLink } from "../../app/nav";
import { Figure } from "../../ui/figures";
import { Countdown, Instant } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import type { PanelState } from "../../ui/panelState";
import { Pill } from "../../ui/Pill";
import classes from "./market.module.css";
import { strings } from "./strings";
import { approvalTone, nextGate, productDay, STATE_TONES, type Product, type Resource } from "./words";

const words = strings.next;

export function Gates({ resource, products, state }: { resource: Resource; products: readonly Product[]; state: PanelState }): ReactElement {
  const gate = nextGate(products);
  return (
    <Panel title={resource.market_name} state={state} testId="market-gate">
      {() => (
        <div className={classes["figures"]}>
          <Figure label={words.gate} value={gate === null ? words.noGate : <Countdown toMs={gate.gate_ms} over={words.over} />} testId="gate-countdown">
            {gate === null ? null : (
              <>
                <Instant ms={gate.gate_ms} zone={resource.zone} />
                <div>{productDay(gate)}</div>
              </>
            )}
          </Figure>
          {gate === null ? null : (
            <Figure label={words.standing} value={<BidStanding product={gate} />}>
              {gate.author === "" ? null : strings.products.byHand(gate.author)}
            </Figure>
          )}
          <Figure label={words.mode} value={strings.modes[resource.mode.mode]}>
            {resource.mode.four_eyes ? strings.mode.fourEyes : null}
          </Figure>
          <ScreenLink to={links.settlement(resource.resource_id)} className={classes["link"]}>
            {words.settlement}
          </ScreenLink>
        </div>
      )}
    </Panel>
  );
}

/** How our newest bid for a gate stands, and whether it waits for a person. */
export function BidStanding({ product }: { product: Product }): ReactElement {
  if (product.status === null) return <>{words.noBid}</>;
  const waits = product.approval !== "not needed" && product.approval !== "approved" && product.status === "draft";
  return (
    <span>
      <Pill tone={STATE_TONES[product.status]}>{strings.states[product.status]}</Pill> {waits ? <Pill tone={approvalTone(product.approval)}>{strings.approvals[product.approval]}</Pill> : null}
    </span>
  );
}
