/** The bids of a delivery day: every revision, what the chosen one offers and why, what it changed, and a say in it. */
import type { ReactElement } from "react";
import { useMay } from "../../app/session";
import { useApi } from "../../api/queries";
import { codeWords } from "../../format/market";
import { count } from "../../format/number";
import { deliveryDay } from "../../format/time";
import layout from "../../ui/layout.module.css";
import { Button } from "../../ui/Button";
import { DataTable, PickButton, Sub } from "../../ui/DataTable";
import { Instant } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { stateOfQuery } from "../../ui/panelState";
import { Pill } from "../../ui/Pill";
import { ApprovalPanel, AuditPanel, DecisionPanel, DiffPanel } from "./BidStory";
import { DraftsPanel } from "./DraftsPanel";
import { ManualPanel } from "./ManualPanel";
import classes from "./market.module.css";
import { ModePanel } from "./ModePanel";
import { OffersPanel } from "./OffersPanel";
import { strings } from "./strings";
import { approvalTone, authorWords, STATE_TONES, type Detail, type Resource, type Row } from "./words";

const words = strings.bids;
const ASK_MS = 2_000;
const MANUAL_MS = 3_000;

export interface BidsTabProps {
  readonly resource: Resource;
  readonly day: string | undefined;
  readonly search: Readonly<Record<string, string>>;
  readonly onSearch: (part: Record<string, string | undefined>) => void;
}

function Revisions({ rows, chosen, onPick }: { rows: readonly Row[]; chosen: string; onPick: (key: string) => void }): ReactElement {
  return (
    <DataTable
      long
      caption={words.caption}
      columns={[{ label: words.revision }, { label: words.state }, { label: words.author }, { label: words.holds }, { label: words.sent }, { label: words.approval }]}
      rows={rows.map((one) => ({
        key: one.key,
        picked: one.key === chosen,
        cells: [
          <PickButton key="revision" pressed={one.key === chosen} label={words.pick(count(one.revision), strings.states[one.state])} onPick={() => onPick(one.key)}>
            {words.number(count(one.revision))}
          </PickButton>,
          <>
            <Pill tone={STATE_TONES[one.state]}>{strings.states[one.state]}</Pill>
            {one.stands ? <Sub>{words.stands}</Sub> : null}
          </>,
          <>
            {authorWords(one)}
            {one.rung_reason === "" || one.author !== "" ? null : <Sub>{one.rung_reason}</Sub>}
          </>,
          words.lists(one.products.map(codeWords).join(", "), words.intervals(count(one.intervals))),
          one.submitted_ms === null ? words.notSent : <Instant ms={one.submitted_ms} />,
          one.approval === "wanted" || one.approval === "second wanted" || one.approval === "refused" ? (
            <Pill tone={approvalTone(one.approval)}>{strings.approvals[one.approval]}</Pill>
          ) : (
            strings.approvals[one.approval]
          ),
        ],
      }))}
    />
  );
}

export function BidsTab({ resource, day, search, onSearch }: BidsTabProps): ReactElement {
  const mayTrade = useMay("trade");
  const resourceId = resource.resource_id;
  const query = useApi("/api/market/bids", { query: { resource: resourceId, day: day ?? "" } }, { everyMs: ASK_MS, keep: true, enabled: day !== undefined });
  const rows = query.data?.bids ?? [];
  const chosen = search["bid"] ?? rows[0]?.key ?? "";
  const here = rows.find((one) => one.key === chosen);
  const detail = useApi("/api/market/bids/{key}", { path: { key: chosen } }, { everyMs: ASK_MS, keep: true, enabled: chosen !== "" });
  const shown: Detail | undefined = detail.data?.bid.key === chosen ? detail.data : undefined;
  const byHand = useApi("/api/market/manual", { query: { resource: resourceId } }, { everyMs: MANUAL_MS });
  const reason = byHand.data?.manual.find((one) => one.manual_id !== null && one.manual_id === shown?.manual_id)?.reason ?? shown?.rebid_reason ?? "";
  const editing = search["by"] === "hand";
  const onMade = (key: string): void => {
    void query.refetch();
    onSearch({ bid: key, against: undefined, by: undefined });
  };
  const pick = (key: string): void => onSearch({ bid: key, against: undefined });
  return (
    <>
      <Panel
        title={words.title(day === undefined ? "" : deliveryDay(day))}
        hint={words.hint}
        testId="market-bids"
        state={day === undefined ? { kind: "empty", words: strings.manual.noDay } : stateOfQuery(query)}
        onRetry={() => void query.refetch()}
        actions={
          mayTrade ? (
            <Button pressed={editing} onClick={() => onSearch({ by: editing ? undefined : "hand" })}>
              {words.override}
            </Button>
          ) : null
        }
      >
        {() => (
          <>
            <label className={classes["field"]}>
              {words.day}
              <input type="date" value={day ?? ""} onChange={(event) => event.target.value && onSearch({ day: event.target.value, bid: undefined, against: undefined })} />
            </label>
            {rows.length === 0 ? <p className={classes["note"]}>{words.empty}</p> : <Revisions rows={rows} chosen={chosen} onPick={pick} />}
            {mayTrade ? null : <p className={classes["note"]}>{strings.manual.mayNot}</p>}
          </>
        )}
      </Panel>
      {editing && mayTrade && day !== undefined ? <ManualPanel key={day} resource={resource} day={day} onShow={onMade} /> : null}
      {here === undefined && shown === undefined ? null : (
        <>
          {shown !== undefined && shown.bid.approval !== "not needed" && shown.bid.state === "draft" ? <ApprovalPanel detail={shown} /> : null}
          <OffersPanel detail={shown} state={stateOfQuery(detail)} revision={here?.revision ?? shown?.bid.revision ?? 0} reason={reason} />
          <DiffPanel bidKey={chosen} rows={rows} against={search["against"]} revision={here?.revision ?? shown?.bid.revision ?? 0} zone={resource.zone} currency={resource.currency} onAgainst={(key) => onSearch({ against: key })} />
          <div className={layout["pair"]}>
            <DecisionPanel detail={shown} state={stateOfQuery(detail)} />
            <AuditPanel detail={shown} state={stateOfQuery(detail)} />
          </div>
        </>
      )}
      <div className={layout["pair"]}>
        <DraftsPanel resource={resource} onShow={pick} />
        <ModePanel resource={resource} />
      </div>
    </>
  );
}
