/** The parts of the plant's software: calm while they run. */
import type { ReactElement } from "react";
import type { RoleHealth } from "../../api/types";
import { count } from "../../format/number";
import { dayHour } from "../../format/time";
import { useLivePart } from "../../live/store";
import { strings } from "../../strings";
import { DataTable } from "../../ui/DataTable";
import { Panel } from "../../ui/Panel";
import { Pill, type Tone } from "../../ui/Pill";

const words = strings.health;
const TONES: Record<RoleHealth["status"], Tone> = { up: "live", starting: "calm", down: "bad" };

export function HealthPanel(): ReactElement {
  const health = useLivePart("health") ?? [];
  const zone = useLivePart("zone") ?? "UTC";
  return (
    <Panel title={words.title} hint={words.hint} testId="health" empty={health.length === 0 ? words.empty : null}>
      {() => (
        <DataTable
          narrow
            caption={words.title}
          columns={[{ label: words.role }, { label: words.status }, { label: words.restarts, end: true }, { label: words.since, end: true }]}
          rows={health.map((one) => ({
            key: one.role,
            cells: [
              one.role,
              <Pill key="status" tone={TONES[one.status]} dot>
                {words.statusWords[one.status]}
              </Pill>,
              count(one.restarts),
              one.since_ms === null ? strings.panel.noValue : dayHour(one.since_ms, zone),
            ],
          }))}
        />
      )}
    </Panel>
  );
}
