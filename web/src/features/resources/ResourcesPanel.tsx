/** The resources side by side; choosing one turns the prices, bids and delivery below to it. */
import type { ReactElement, ReactNode } from "react";
import type { Resource } from "../../api/types";
import { marketName } from "../../format/market";
import { amount } from "../../format/money";
import { count, percent } from "../../format/number";
import { batteryPhrase, energySize, tradedPhrase } from "../../format/power";
import { useLivePart } from "../../live/store";
import { strings } from "../../strings";
import { DataTable, PickButton, Sub } from "../../ui/DataTable";
import { Panel } from "../../ui/Panel";

const words = strings.resources;

const COLUMNS = [
  { label: words.name },
  { label: words.now },
  { label: words.target },
  { label: words.hour },
  { label: words.soc, end: true },
  { label: words.coverage, end: true },
  { label: words.share, end: true },
  { label: words.revenue, end: true },
];

function hourCell(one: Resource): ReactNode {
  if (Math.abs(one.award_mwh) < 5e-5) return words.hourNothing;
  return words.hourDetail(energySize(one.delivered_mwh * 1000), tradedPhrase(one.award_mwh));
}

export interface ResourceChoice {
  readonly chosen: string | null;
  readonly onChoose: (resourceId: string) => void;
}

export function ResourcesPanel({ chosen, onChoose }: ResourceChoice): ReactElement {
  const resources = useLivePart("resources") ?? [];
  const currency = useLivePart("money")?.currency ?? "USD";
  return (
    <Panel title={words.title} hint={words.hint} testId="resources" empty={resources.length === 0 ? words.empty : null}>
      {() => (
        <DataTable
          caption={words.title}
          columns={COLUMNS}
          rows={resources.map((one) => ({
            key: one.resource_id,
            picked: one.resource_id === chosen,
            cells: [
              <div key="name">
                <PickButton pressed={one.resource_id === chosen} onPick={() => onChoose(one.resource_id)}>
                  {one.name}
                </PickButton>
                <Sub>
                  {marketName(one.market_id)}, {one.settlement_point}
                </Sub>
              </div>,
              batteryPhrase(one.measured_kw),
              batteryPhrase(one.target_kw),
              hourCell(one),
              one.soc_frac === null ? strings.panel.noValue : percent(one.soc_frac),
              <div key="coverage">
                {percent(one.coverage_kw_frac, 1)}
                <Sub>{words.sites(count(one.fresh_sites), count(one.sites))}</Sub>
              </div>,
              one.delivered_share === null ? strings.panel.noValue : percent(one.delivered_share, 1),
              one.revenue === null ? strings.figures.moneyUnknown : amount(one.revenue, currency),
            ],
          }))}
        />
      )}
    </Panel>
  );
}
