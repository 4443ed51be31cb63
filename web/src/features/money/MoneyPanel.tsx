/** Money day by day, and whether it is final. */
import type { ReactElement } from "react";
import { amount } from "../../format/money";
import { deliveryDay } from "../../format/time";
import { energySize } from "../../format/power";
import { useLivePart } from "../../live/store";
import { strings } from "../../strings";
import { DataTable } from "../../ui/DataTable";
import { Panel } from "../../ui/Panel";
import { Pill } from "../../ui/Pill";

const words = strings.money;

export function MoneyPanel(): ReactElement {
  const money = useLivePart("money");
  const resources = useLivePart("resources") ?? [];
  const days = [...(money?.by_day ?? [])].sort((a, b) => b.delivery_date.localeCompare(a.delivery_date));
  return (
    <Panel title={words.title} hint={words.hint} testId="money-days" empty={days.length === 0 ? words.empty : null}>
      {() => (
        <DataTable
          long
          caption={words.title}
          columns={[
            { label: words.day },
            { label: words.resource },
            { label: words.revenue, end: true },
            { label: words.awarded, end: true },
            { label: words.delivered, end: true },
            { label: words.status },
          ]}
          rows={days.map((day) => ({
            key: `${day.delivery_date}/${day.resource_id}`,
            cells: [
              deliveryDay(day.delivery_date),
              resources.find((one) => one.resource_id === day.resource_id)?.name ?? day.resource_id,
              amount(day.revenue, money?.currency ?? "USD"),
              energySize(day.award_mwh * 1000),
              energySize(day.delivered_mwh * 1000),
              <Pill key="status">{words.statusWords[day.status]}</Pill>,
            ],
          }))}
        />
      )}
    </Panel>
  );
}
