/** One site: live at the top, its past below, then what is on record. */
import { useEffect, useState, type ReactElement } from "react";
import { useApi } from "../../api/queries";
import { links } from "../../app/links";
import { ScreenLink, useParam, useSearch, useSetSearch } from "../../app/nav";
import { useFeed } from "../../live/store";
import { Button } from "../../ui/Button";
import layout from "../../ui/layout.module.css";
import { AskedPanel, FlowPanel } from "./NowPanels";
import { hasScreen } from "./reach";
import { DevicePanel, EventsPanel, ProgramsPanel } from "./RecordPanels";
import classes from "./Screen.module.css";
import { HOURS, hoursOf, momentOf, withMoment, type Moment, type SiteNow } from "./site";
import { strings } from "./strings";
import { CommandsPanel, TelemetryPanels } from "./TracePanels";
import { useSpan } from "./useSpan";

/** What came of a site while the screen was open. */
function useMoments(siteId: string, now: SiteNow | null): readonly Moment[] {
  const [held, setHeld] = useState<{ readonly siteId: string; readonly moments: readonly Moment[] }>({ siteId, moments: [] });
  useEffect(() => {
    const one = now === null || now.site_id !== siteId ? null : momentOf(now);
    setHeld((before) => {
      const moments = before.siteId === siteId ? before.moments : [];
      const after = one === null ? moments : withMoment(moments, one);
      return after === before.moments && before.siteId === siteId ? before : { siteId, moments: after };
    });
  }, [siteId, now]);
  return held.siteId === siteId ? held.moments : [];
}

function Head({ siteId }: { siteId: string }): ReactElement {
  const query = useApi("/api/sites/{site_id}", { path: { site_id: siteId } });
  const linked = hasScreen("/node/$groupId");
  return (
    <div className={classes["head"]}>
      <h1 className={classes["name"]} data-testid="site-name">
        {siteId}
      </h1>
      {(query.data?.memberships ?? []).map((one) => {
        const path = one.path.join(" › ");
        return (
          <span key={one.hierarchy_id} className={classes["path"]}>
            {linked ? <ScreenLink to={links.node(one.group_id)} className={classes["link"]}>{path}</ScreenLink> : path}
          </span>
        );
      })}
    </div>
  );
}

export function SiteView({ siteId, hours, onHours }: { siteId: string; hours: string; onHours: (hours: string) => void }): ReactElement {
  const feed = useFeed<SiteNow>(siteId === "" ? null : `site/${siteId}`);
  const live = useMoments(siteId, feed.value);
  const span = useSpan(Number(hours));
  return (
    <div className={layout["screen"]}>
      <Head siteId={siteId} />
      <div className={layout["pair"]}>
        <FlowPanel feed={feed} />
        <AskedPanel feed={feed} />
      </div>
      <div className={classes["choices"]} role="group" aria-label={strings.window.label}>
        {HOURS.map((one) => (
          <Button key={one} onClick={() => onHours(one)} pressed={one === hours}>
            {strings.window.items[one]}
          </Button>
        ))}
      </div>
      <TelemetryPanels siteId={siteId} span={span} live={live} />
      <CommandsPanel siteId={siteId} span={span} />
      <div className={layout["pair"]}>
        <DevicePanel siteId={siteId} />
        <ProgramsPanel siteId={siteId} />
      </div>
      <EventsPanel siteId={siteId} />
    </div>
  );
}

export default function Screen(): ReactElement {
  const siteId = useParam("siteId");
  const search = useSearch();
  const setSearch = useSetSearch();
  return <SiteView key={siteId} siteId={siteId} hours={hoursOf(search["hours"])} onHours={(hours) => setSearch({ hours })} />;
}
