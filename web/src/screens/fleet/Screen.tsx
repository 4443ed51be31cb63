/** The fleet: from what matters in ten seconds at the top to what an engineer asks at the bottom. */
import { useState, type ReactElement } from "react";
import { AlarmsPanel } from "../../features/alarms/AlarmsPanel";
import { BidsPanel } from "../../features/bids/BidsPanel";
import { DeliveryPanel } from "../../features/delivery/DeliveryPanel";
import { GroupsPanel } from "../../features/groups/GroupsPanel";
import { HealthPanel } from "../../features/health/HealthPanel";
import { MoneyPanel } from "../../features/money/MoneyPanel";
import { Overview } from "../../features/overview/Overview";
import { PowerPanel } from "../../features/power/PowerPanel";
import { PricePanel } from "../../features/prices/PricePanel";
import { QuarantinePanel } from "../../features/quarantine/QuarantinePanel";
import { ResourcesPanel } from "../../features/resources/ResourcesPanel";
import { RunsPanel } from "../../features/runs/RunsPanel";
import { useLivePart } from "../../live/store";
import classes from "../../ui/layout.module.css";
import { Sites } from "./Sites";

export default function Screen(): ReactElement {
  const resources = useLivePart("resources") ?? [];
  const [wanted, setWanted] = useState<string | null>(null);
  const chosen = resources.find((one) => one.resource_id === wanted) ?? resources[0];
  const resourceId = chosen?.resource_id ?? null;
  return (
    <div className={classes["screen"]}>
      <Overview />
      <Sites />
      <AlarmsPanel />
      <div className={classes["pair"]}>
        <PowerPanel />
        <PricePanel settlementPoint={chosen?.settlement_point ?? null} />
      </div>
      <ResourcesPanel chosen={resourceId} onChoose={setWanted} />
      <div className={classes["pair"]}>
        <BidsPanel resourceId={resourceId} />
        <div className={classes["column"]}>
          <DeliveryPanel resourceId={resourceId} />
          <MoneyPanel />
        </div>
      </div>
      <RunsPanel />
      <GroupsPanel />
      <div className={classes["pair"]}>
        <HealthPanel />
        <QuarantinePanel />
      </div>
    </div>
  );
}
