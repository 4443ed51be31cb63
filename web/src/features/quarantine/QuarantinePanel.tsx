/** What was set aside and why: counters by reason, and the latest examples. */
import type { ReactElement } from "react";
import { codeWords } from "../../format/market";
import { bytes, count } from "../../format/number";
import { dayHour } from "../../format/time";
import { useLivePart } from "../../live/store";
import { strings } from "../../strings";
import { DataTable, Sub } from "../../ui/DataTable";
import { Panel } from "../../ui/Panel";
import { Pill } from "../../ui/Pill";

const words = strings.quarantine;
const SHOWN = 6;

export function QuarantinePanel(): ReactElement {
  const quarantine = useLivePart("quarantine");
  const zone = useLivePart("zone") ?? "UTC";
  const reasons = Object.entries(quarantine?.by_reason ?? {}).sort(([, a], [, b]) => b - a);
  const recent = [...(quarantine?.recent ?? [])].sort((a, b) => b.arrival_ms - a.arrival_ms).slice(0, SHOWN);
  const total = quarantine?.total ?? 0;
  return (
    <Panel
      title={words.title}
      hint={words.hint}
      testId="quarantine"
      empty={total === 0 ? words.empty : null}
      actions={total > 0 ? <Pill>{words.total(count(total))}</Pill> : null}
    >
      {() => (
        <>
          <DataTable
            narrow
            caption={words.reason}
            columns={[{ label: words.reason }, { label: words.count, end: true }]}
            rows={reasons.map(([reason, n]) => ({ key: reason, cells: [codeWords(reason), count(n)] }))}
          />
          {recent.length > 0 ? (
            <DataTable
              long
              narrow
            caption={words.latest}
              columns={[{ label: words.latest }, { label: words.detail }, { label: words.size, end: true }]}
              rows={recent.map((one, i) => ({
                key: `${one.arrival_ms}/${one.site_id}/${i}`,
                cells: [
                  <div key="site">
                    {one.site_id}
                    <Sub>{dayHour(one.arrival_ms, zone)}</Sub>
                  </div>,
                  <div key="detail">
                    {codeWords(one.reason)}
                    <Sub>{one.detail}</Sub>
                  </div>,
                  bytes(one.size_bytes),
                ],
              }))}
            />
          ) : null}
        </>
      )}
    </Panel>
  );
}
