/** What people made by hand: drafts that wait, and bids that the plant plans around; sent or taken back from here. */
import { useState, type ReactElement } from "react";
import { useMay } from "../../app/session";
import { useAct, useApi } from "../../api/queries";
import { codeWords } from "../../format/market";
import { count } from "../../format/number";
import { deliveryDay } from "../../format/time";
import { Button } from "../../ui/Button";
import { useConfirm } from "../../ui/Confirm";
import { DataTable, PickButton, Sub } from "../../ui/DataTable";
import { Instant } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { faultWords, stateOfQuery } from "../../ui/panelState";
import { Pill } from "../../ui/Pill";
import classes from "./market.module.css";
import { strings } from "./strings";
import type { Manual, Resource } from "./words";

const words = strings.drafts;
const ASK_MS = 3_000;
const REFRESH = ["/api/market"];

/** What a bid by hand lists, in a few words. */
export function listed(one: Manual): string {
  const intervals = one.offers.reduce((sum, offer) => sum + offer.intervals.length + offer.blocks.length, 0);
  return strings.bids.lists([...new Set(one.offers.map((offer) => offer.name))].join(", "), strings.bids.intervals(count(intervals)));
}

export function DraftsPanel({ resource, onShow }: { resource: Resource; onShow: (key: string) => void }): ReactElement {
  const query = useApi("/api/market/manual", { query: { resource: resource.resource_id } }, { everyMs: ASK_MS });
  const mayTrade = useMay("trade");
  const ask = useConfirm();
  const submit = useAct("post", "/api/market/manual/{manual_id}/submit", { refresh: REFRESH });
  const withdraw = useAct("post", "/api/market/manual/{manual_id}/withdraw", { refresh: REFRESH });
  const [fault, setFault] = useState<string | null>(null);
  const doing = async (act: () => Promise<unknown>): Promise<void> => {
    setFault(null);
    try {
      await act();
    } catch (error) {
      setFault(faultWords(error));
    }
  };
  const send = async (one: Manual, id: string): Promise<void> => {
    const agreed = await ask({ title: strings.manual.askTitle(one.resource_id, deliveryDay(one.delivery_date)), body: listed(one), act: strings.manual.send });
    if (agreed) await doing(() => submit.run({ path: { manual_id: id } }));
  };
  const takeBack = async (id: string): Promise<void> => {
    const agreed = await ask({ title: words.ask, body: words.askBody, act: words.withdraw, danger: true, needReason: true });
    if (agreed) await doing(() => withdraw.run({ path: { manual_id: id }, body: { reason: agreed.reason } }));
  };
  const acts = (one: Manual): ReactElement | null => {
    const id = one.manual_id;
    if (id === null || one.state === "withdrawn" || !one.open || !mayTrade) return null;
    return (
      <span className={classes["buttons"]}>
        {one.state === "draft" ? (
          <Button label={words.sendNamed(id)} onClick={() => void send(one, id)}>
            {words.send}
          </Button>
        ) : null}
        <Button label={words.withdrawNamed(id)} onClick={() => void takeBack(id)}>
          {words.withdraw}
        </Button>
      </span>
    );
  };
  return (
    <Panel
      title={words.title}
      hint={words.hint}
      testId="market-drafts"
      state={stateOfQuery(query, (data) => (data.manual.length === 0 ? words.empty : null))}
      onRetry={() => void query.refetch()}
    >
      {() => (
        <>
          <DataTable
            caption={words.title}
            columns={[{ label: words.what }, { label: words.by }, { label: words.state }, { label: words.act }]}
            rows={(query.data?.manual ?? []).map((one, i) => ({
              key: one.manual_id ?? String(i),
              cells: [
                <>
                  {deliveryDay(one.delivery_date)}: {codeWords(listed(one))}
                  <Sub>{one.reason}</Sub>
                </>,
                <>
                  {one.by}
                  <Sub>
                    <Instant ms={one.at_ms} zone={resource.zone} />
                  </Sub>
                </>,
                <>
                  <Pill tone={one.state === "draft" ? "warn" : "calm"}>{words.states[one.state]}</Pill>
                  {one.bid === null ? null : (
                    <Sub>
                      <PickButton pressed={false} onPick={() => onShow(one.bid?.key ?? "")}>
                        {strings.manual.showIt(count(one.bid.revision))}
                      </PickButton>
                    </Sub>
                  )}
                </>,
                acts(one),
              ],
            }))}
          />
          <p role="alert" className={classes["fault"]}>
            {fault}
          </p>
        </>
      )}
    </Panel>
  );
}
