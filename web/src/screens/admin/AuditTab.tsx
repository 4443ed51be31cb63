/** Who did what: one list, filtered by who, about what and when, page by page, and as a file. */
import { useState, type FormEvent, type ReactElement } from "react";
import { addressOf, api } from "../../api/client";
import { useApi } from "../../api/queries";
import { useSearch, useSetSearch } from "../../app/nav";
import { codeWords } from "../../format/market";
import { count } from "../../format/number";
import { Button } from "../../ui/Button";
import { DataTable } from "../../ui/DataTable";
import { Instant, useZone } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { faultWords, stateOfQuery } from "../../ui/panelState";
import { Pill } from "../../ui/Pill";
import ui from "../../ui/ui.module.css";
import classes from "./admin.module.css";
import { strings } from "./strings";
import { useTyped } from "./useTyped";
import { dayStartMs, type AuditEntry } from "./words";

const words = strings.audit;
const KINDS = ["orders", "alarms", "bids", "proposals", "people", "devices"] as const;
const PAGE = 100;

export function Lines({ lines }: { lines: readonly AuditEntry[] }): ReactElement {
  return (
    <DataTable
      caption={words.title}
      columns={[{ label: words.time }, { label: words.by }, { label: words.action }, { label: words.about }, { label: words.detail }]}
      rows={lines.map((one, place) => ({
        key: `${one.at_ms}/${one.about}/${place}`,
        cells: [
          <span key="time" className={classes["time"]}>
            <Instant ms={one.at_ms} show="clock" />
          </span>,
          <span key="by" className={classes["who"]}>
            {one.by === "" ? words.plant : one.by}
          </span>,
          <span key="action" className={classes["who"]}>
            {codeWords(one.action)} {one.outcome === "refused" ? <Pill tone="warn">{words.outcome}</Pill> : null}
          </span>,
          <span key="about" className={classes["name"]}>
            {one.about}
          </span>,
          <span key="detail" className={classes["long"]}>
            {one.detail}
          </span>,
        ],
      }))}
    />
  );
}

interface Older {
  readonly lines: readonly AuditEntry[];
  readonly next: string | null;
}

interface Asked {
  readonly kind?: (typeof KINDS)[number][];
  readonly by: string;
  readonly about: string;
  readonly people: boolean;
  readonly from_ms?: number;
  readonly until_ms?: number;
}

function List({ asked, filtered }: { asked: Asked; filtered: boolean }): ReactElement {
  const query = useApi("/api/admin/audit", { query: { ...asked, limit: PAGE } });
  const [older, setOlder] = useState<Older | null>(null);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState("");
  const next = older === null ? (query.data?.next ?? null) : older.next;
  const lines = [...(query.data?.lines ?? []), ...(older?.lines ?? [])];
  const more = (before: string): void => {
    setBusy(true);
    api.get("/api/admin/audit", { query: { ...asked, limit: PAGE, before } }).then(
      (page) => {
        setBusy(false);
        setFault("");
        setOlder((held) => ({ lines: [...(held?.lines ?? []), ...page.lines], next: page.next }));
      },
      (error: unknown) => {
        setBusy(false);
        setFault(words.failed(faultWords(error)));
      },
    );
  };
  return (
    <Panel
      title={words.title}
      hint={words.hint}
      testId="admin-audit"
      state={stateOfQuery(query, (page) => (page.lines.length > 0 ? null : filtered ? words.nothing : words.empty))}
      onRetry={() => void query.refetch()}
      actions={
        <a className={classes["file"]} href={addressOf("/api/admin/audit/export", { query: asked }).href} download aria-label={words.csvLabel}>
          {words.csv}
        </a>
      }
    >
      {() => (
        <>
          <p className={classes["count"]}>{words.shown(count(lines.length))}</p>
          <Lines lines={lines} />
          {next === null ? null : (
            <div>
              <Button busy={busy} onClick={() => more(next)}>
                {words.older}
              </Button>
            </div>
          )}
          <p role="alert" className={ui["fault"]}>
            {fault}
          </p>
        </>
      )}
    </Panel>
  );
}

export function AuditTab(): ReactElement {
  const search = useSearch();
  const setSearch = useSetSearch();
  const zone = useZone();
  const kind = KINDS.find((one) => one === search["kind"]);
  const [by, setBy] = useTyped(search["by"] ?? "");
  const [about, setAbout] = useTyped(search["about"] ?? "");
  const fromMs = dayStartMs(search["from"], zone);
  const untilMs = dayStartMs(search["until"], zone, 1);
  const asked: Asked = {
    by: search["by"] ?? "",
    about: search["about"] ?? "",
    people: search["people"] === "yes",
    ...(kind === undefined ? {} : { kind: [kind] }),
    ...(fromMs === undefined ? {} : { from_ms: fromMs }),
    ...(untilMs === undefined ? {} : { until_ms: untilMs }),
  };
  const find = (event: FormEvent): void => {
    event.preventDefault();
    setSearch({ by: by.trim() || undefined, about: about.trim() || undefined });
  };
  const key = JSON.stringify(asked);
  return (
    <>
      <form className={classes["filters"]} onSubmit={find} aria-label={words.title}>
        <label className={ui["field"]}>
          {words.by}
          <input className={ui["input"]} data-search value={by} maxLength={200} autoComplete="off" spellCheck={false} onChange={(event) => setBy(event.target.value)} />
        </label>
        <label className={ui["field"]}>
          {words.about}
          <input className={ui["input"]} value={about} maxLength={300} autoComplete="off" spellCheck={false} onChange={(event) => setAbout(event.target.value)} />
        </label>
        <Button type="submit">{strings.find}</Button>
        <label className={ui["field"]}>
          {words.kind}
          <select className={ui["input"]} value={kind ?? ""} onChange={(event) => setSearch({ kind: event.target.value || undefined })}>
            <option value="">{words.kindAny}</option>
            {KINDS.map((one) => (
              <option key={one} value={one}>
                {words.kindWords[one]}
              </option>
            ))}
          </select>
        </label>
        <label className={ui["field"]}>
          {words.from}
          <input type="date" className={ui["input"]} value={search["from"] ?? ""} onChange={(event) => setSearch({ from: event.target.value || undefined })} />
        </label>
        <label className={ui["field"]}>
          {words.until}
          <input type="date" className={ui["input"]} value={search["until"] ?? ""} onChange={(event) => setSearch({ until: event.target.value || undefined })} />
        </label>
        <label className={classes["check"]}>
          <input type="checkbox" checked={asked.people} onChange={(event) => setSearch({ people: event.target.checked ? "yes" : undefined })} />
          {words.people}
        </label>
      </form>
      <List key={key} asked={asked} filtered={key !== JSON.stringify({ by: "", about: "", people: false })} />
    </>
  );
}
