/** The fleet: what it does now and for whom, what needs a person, how sure all of it is, and where it is. */
import type { ReactElement } from "react";
import classes from "../../ui/layout.module.css";
import { GroupsPanel } from "./GroupsPanel";
import { Overview } from "./Overview";
import { PowerPanel } from "./PowerPanel";
import { Sites } from "./Sites";

export default function Screen(): ReactElement {
  return (
    <div className={classes["screen"]}>
      <Overview />
      <Sites />
      <PowerPanel />
      <GroupsPanel />
    </div>
  );
}
