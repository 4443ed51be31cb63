/** The rules of every market that the software knows, as of today, with the days from which they hold; those of this plant first. */
import type { ReactElement } from "react";
import { useApi } from "../../api/queries";
import { price, priceTick } from "../../format/money";
import { deliveryDay, duration } from "../../format/time";
import { fixed } from "../../format/number";
import { DataTable, Sub } from "../../ui/DataTable";
import { Countdown, Instant } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { stateOfQuery } from "../../ui/panelState";
import { Pill } from "../../ui/Pill";
import ui from "../../ui/ui.module.css";
import classes from "./admin.module.css";
import { strings } from "./strings";
import { gateWords, type MarketView, type ProductView } from "./words";

const words = strings.markets;
const EVERY_MS = 60_000;

/** A power of an offer in MW, with as many decimals as its step has. */
function megawatts(value: number): string {
  const decimals = Math.min(Math.max(0, -Math.floor(Math.log10(value || 1))), 3);
  return `${fixed(value, decimals)} MW`;
}

function Next({ product, zone }: { product: ProductView; zone: string }): ReactElement {
  if (!product.traded) return <span className={ui["sub"]}>{product.last_day === null ? words.notTraded(product.first_day) : words.ended(product.last_day)}</span>;
  if (product.next_gate_ms === null) return <span className={ui["sub"]}>{strings.none}</span>;
  return (
    <div>
      <Instant ms={product.next_gate_ms} zone={zone} />
      <Sub>
        <Countdown toMs={product.next_gate_ms} over={words.closing} />
      </Sub>
    </div>
  );
}

export function MarketPanel({ market }: { market: MarketView }): ReactElement {
  const amount = (value: number): string => priceTick(value, market.currency);
  return (
    <Panel
      title={market.name}
      hint={words.hint(deliveryDay(market.day), market.zone)}
      testId={`admin-market-${market.market_id}`}
      actions={<Pill tone={market.resources.length > 0 ? "live" : "calm"}>{market.resources.length > 0 ? words.here(market.resources.join(", ")) : words.notHere}</Pill>}
    >
      {() => (
        <>
          <DataTable
            caption={market.name}
            columns={[{ label: words.product }, { label: words.interval }, { label: words.limits }, { label: words.gate }, { label: words.next }, { label: words.quantity }]}
            rows={market.products.map((one) => ({
              key: one.product_id,
              cells: [
                <div key="product">
                  {one.name}
                  <Sub>{words.kindWords[one.kind] ?? one.kind}</Sub>
                </div>,
                <div key="interval">
                  {one.interval_s === null ? strings.none : duration(one.interval_s)}
                  {one.interval_from === null ? null : <Sub>{words.from(one.interval_from)}</Sub>}
                </div>,
                <div key="limits">
                  {one.floor_per_mwh === null || one.cap_per_mwh === null ? strings.none : words.limit(amount(one.floor_per_mwh), amount(one.cap_per_mwh))}
                  {one.limits.filter((limit) => limit.in_force).map((limit) => (
                    <Sub key={limit.effective_from}>{words.from(limit.effective_from)}</Sub>
                  ))}
                </div>,
                <div key="gate">
                  {one.gates.map((gate) => (
                    <div key={gate.kind}>{gateWords(gate)}</div>
                  ))}
                </div>,
                <Next key="next" product={one} zone={market.zone} />,
                words.steps(megawatts(one.quantity_minimum_mw), megawatts(one.quantity_step_mw), price(one.price_tick_per_mwh, market.currency)),
              ],
            }))}
          />
          <details className={classes["more"]}>
            <summary>{words.showAll}</summary>
            <DataTable
              caption={words.showAll}
              columns={[{ label: words.product }, { label: words.effective }, { label: words.limits }, { label: words.state }]}
              rows={market.products.flatMap((one) =>
                one.limits.map((limit) => ({
                  key: `${one.product_id}/${limit.effective_from}`,
                  cells: [one.name, limit.effective_from, words.limit(amount(limit.floor_per_mwh), amount(limit.cap_per_mwh)), limit.in_force ? words.now : words.then],
                })),
              )}
            />
          </details>
        </>
      )}
    </Panel>
  );
}

export function MarketsTab(): ReactElement {
  const query = useApi("/api/admin/markets", {}, { everyMs: EVERY_MS });
  const markets = query.data;
  if (markets === undefined || markets.length === 0) {
    return (
      <Panel title={strings.tab.markets} testId="admin-markets" state={stateOfQuery(query, () => words.empty)} onRetry={() => void query.refetch()}>
        {() => null}
      </Panel>
    );
  }
  const others = markets.filter((one) => one.resources.length === 0);
  return (
    <>
      {markets.filter((one) => one.resources.length > 0).map((one) => (
        <MarketPanel key={one.market_id} market={one} />
      ))}
      {others.length === 0 ? null : (
        <details className={classes["more"]}>
          <summary>{words.others}</summary>
          {others.map((one) => (
            <MarketPanel key={one.market_id} market={one} />
          ))}
        </details>
      )}
    </>
  );
}
