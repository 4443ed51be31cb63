/** What is known from outside: how old against how old it may be, what was set aside, and which fallbacks are in use. */
import type { FormEvent, ReactElement } from "react";
import { useApi } from "../../api/queries";
import { useSearch, useSetSearch } from "../../app/nav";
import { codeWords } from "../../format/market";
import { bytes, count } from "../../format/number";
import { deliveryDay, duration } from "../../format/time";
import { useLivePart } from "../../live/store";
import { Button } from "../../ui/Button";
import { DataTable, Sub } from "../../ui/DataTable";
import { Age } from "../../ui/figures";
import { Instant } from "../../ui/Instant";
import layout from "../../ui/layout.module.css";
import { Panel } from "../../ui/Panel";
import { stateOfQuery } from "../../ui/panelState";
import { Pill, type Tone } from "../../ui/Pill";
import ui from "../../ui/ui.module.css";
import classes from "./admin.module.css";
import { strings } from "./strings";
import { useTyped } from "./useTyped";
import type { FeedSeries } from "./words";

const words = strings.feeds;
const TONES: Record<FeedSeries["state"], Tone> = { fresh: "live", stale: "warn", unjudged: "calm" };
const EVERY_MS = 10_000;
const LIMIT = 200;

export function SeriesRows({ rows }: { rows: readonly FeedSeries[] }): ReactElement {
  return (
    <DataTable
      long
      caption={words.title}
      columns={[{ label: words.series }, { label: words.state }, { label: words.age }, { label: words.expected }, { label: words.until }, { label: words.facts, end: true }, { label: words.aside, end: true }]}
      rows={rows.map((one) => ({
        key: one.series_id,
        cells: [
          <div key="series" className={classes["name"]}>
            {one.series_id}
            {one.unit === "" ? null : <Sub>{one.unit}</Sub>}
          </div>,
          <Pill key="state" tone={TONES[one.state]} dot={one.state === "fresh"}>
            {words.stateWords[one.state]}
          </Pill>,
          <Age key="age" seconds={one.age_s} />,
          one.expected_s === null ? words.unlimited : duration(one.expected_s),
          one.latest_end_ms === null ? strings.never : <Instant key="until" ms={one.latest_end_ms} />,
          count(one.facts),
          count(one.set_aside),
        ],
      }))}
    />
  );
}

/** Messages of devices that were set aside, live. */
export function QuarantinePanel(): ReactElement {
  const said = strings.messages;
  const quarantine = useLivePart("quarantine");
  const reasons = Object.entries(quarantine?.by_reason ?? {}).sort(([, a], [, b]) => b - a);
  const recent = [...(quarantine?.recent ?? [])].sort((a, b) => b.arrival_ms - a.arrival_ms);
  const total = quarantine?.total ?? 0;
  return (
    <Panel title={said.title} hint={said.hint} testId="quarantine" parts={["quarantine"]} empty={total === 0 ? said.empty : null} actions={total > 0 ? <Pill>{said.total(count(total))}</Pill> : null}>
      {() => (
        <>
          <DataTable
            narrow
            caption={said.reason}
            columns={[{ label: said.reason }, { label: said.count, end: true }]}
            rows={reasons.map(([reason, n]) => ({ key: reason, cells: [codeWords(reason), count(n)] }))}
          />
          {recent.length === 0 ? null : (
            <DataTable
              long
              narrow
              caption={said.latest}
              columns={[{ label: said.latest }, { label: said.detail }, { label: said.size, end: true }]}
              rows={recent.map((one, place) => ({
                key: `${one.arrival_ms}/${one.site_id}/${place}`,
                cells: [
                  <div key="site" className={classes["name"]}>
                    {one.site_id}
                    <Sub>
                      <Instant ms={one.arrival_ms} />
                    </Sub>
                  </div>,
                  <div key="detail" className={classes["name"]}>
                    {codeWords(one.reason)}
                    <Sub>{one.detail}</Sub>
                  </div>,
                  bytes(one.size_bytes),
                ],
              }))}
            />
          )}
        </>
      )}
    </Panel>
  );
}

export function FeedsTab(): ReactElement {
  const search = useSearch();
  const setSearch = useSetSearch();
  const text = search["text"] ?? "";
  const stale = search["stale"] === "yes";
  const [typed, setTyped] = useTyped(text);
  const query = useApi("/api/admin/feeds", { query: { text, stale, limit: LIMIT } }, { everyMs: EVERY_MS, keep: true });
  const data = query.data;
  const state = stateOfQuery(query);
  const find = (event: FormEvent): void => {
    event.preventDefault();
    setSearch({ text: typed.trim() || undefined });
  };
  return (
    <>
      <Panel title={words.title} hint={words.hint} testId="admin-feeds" state={stateOfQuery(query, (said) => (said.series === 0 ? words.empty : null))} onRetry={() => void query.refetch()}>
        {() =>
          data === undefined ? null : (
            <>
              <form className={classes["filters"]} onSubmit={find}>
                <label className={ui["field"]}>
                  {strings.search}
                  <input className={ui["input"]} data-search value={typed} maxLength={200} autoComplete="off" spellCheck={false} onChange={(event) => setTyped(event.target.value)} />
                </label>
                <Button type="submit">{strings.find}</Button>
                <label className={classes["check"]}>
                  <input type="checkbox" checked={stale} onChange={(event) => setSearch({ stale: event.target.checked ? "yes" : undefined })} />
                  {words.only}
                </label>
              </form>
              <p className={classes["count"]}>{words.counts(count(data.series), count(data.stale), count(data.set_aside))}</p>
              {data.rows.length === 0 ? <p className={ui["message"]}>{words.nothing}</p> : <SeriesRows rows={data.rows} />}
              {data.total > data.rows.length ? <p className={classes["count"]}>{words.cut(count(data.rows.length), count(data.total))}</p> : null}
            </>
          )
        }
      </Panel>
      <div className={layout["pair"]}>
        <Panel title={words.fallbacks} hint={words.fallbacksHint} testId="admin-fallbacks" state={data?.fallbacks.length === 0 && state.kind === "ready" ? { kind: "empty", words: words.fallbacksEmpty } : state}>
          {() => (
            <DataTable
              narrow
              caption={words.fallbacks}
              columns={[{ label: words.resource }, { label: words.rung }, { label: words.reason }]}
              rows={(data?.fallbacks ?? []).map((one) => ({
                key: one.resource_id,
                cells: [
                  <div key="resource" className={classes["name"]}>
                    {one.resource_id}
                    <Sub>{deliveryDay(one.delivery_date)}</Sub>
                  </div>,
                  codeWords(one.rung),
                  <span key="reason" className={classes["name"]}>
                    {one.reason}
                  </span>,
                ],
              }))}
            />
          )}
        </Panel>
        <Panel title={words.broken} hint={words.brokenHint} testId="admin-broken" state={data?.latest_set_aside.length === 0 && state.kind === "ready" ? { kind: "empty", words: words.brokenEmpty } : state}>
          {() => (
            <DataTable
              long
              narrow
              caption={words.broken}
              columns={[{ label: words.series }, { label: words.what }, { label: words.when }]}
              rows={(data?.latest_set_aside ?? []).map((one, place) => ({
                key: `${one.series_id}/${one.start_ms}/${place}`,
                cells: [
                  <div key="series" className={classes["name"]}>
                    {one.series_id}
                    <Sub>{one.source}</Sub>
                  </div>,
                  <div key="what" className={classes["name"]}>
                    {codeWords(one.reason)}
                    <Sub>{one.detail}</Sub>
                  </div>,
                  <Instant key="when" ms={one.known_ms} />,
                ],
              }))}
            />
          )}
        </Panel>
      </div>
      <QuarantinePanel />
    </>
  );
}
