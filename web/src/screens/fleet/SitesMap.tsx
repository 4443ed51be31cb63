/** The sites on the map: places once, then how they are while the map is in sight. */
import { useEffect, useMemo, useRef, type ReactElement } from "react";
import { useApi } from "../../api/queries";
import { links } from "../../app/links";
import { useGo } from "../../app/nav";
import { count } from "../../format/number";
import { MapCanvas } from "../../map/MapCanvas";
import { useInView } from "../../map/useInView";
import { Panel } from "../../ui/Panel";
import { LOADING, stateOfQuery, type PanelState } from "../../ui/panelState";
import ui from "../../ui/ui.module.css";
import { marksOf, sitedOf } from "./mapView";
import { isNarrowed, queryOf, type SiteFilter } from "./siteFilter";
import { strings } from "./strings";
import { useSitesNow } from "./useSitesNow";

const words = strings.sites;
/** It is made ready a little before it is scrolled into sight. */
const NEAR_PX = 200;

export default function SitesMap({ filter }: { filter: SiteFilter }): ReactElement {
  const go = useGo();
  const frame = useRef<HTMLDivElement>(null);
  const places = useApi("/api/map/sites", {});
  const { now, told } = useSitesNow(queryOf(filter), useInView(frame, NEAR_PX));
  const { refetch } = places;
  const [placed, through] = [told.data?.version, told.data?.through];
  const sited = useMemo(() => (places.data ? sitedOf(places.data) : null), [places.data]);
  const marks = useMemo(() => (sited && through !== undefined ? marksOf(sited, through) : null), [sited, through]);
  const same = placed === undefined || places.data?.version === placed;
  useEffect(() => {
    if (!same) void refetch();
  }, [same, placed, refetch]);
  let state: PanelState = places.data === undefined ? stateOfQuery(places) : stateOfQuery(told, (data) => (data.total > 0 ? null : isNarrowed(filter) ? words.none : words.noSites));
  if (state.kind === "ready" && !same) state = LOADING;
  if (state.kind === "ready" && told.data && told.data.unanswered > 0) state = { kind: "partial", words: words.unanswered(count(told.data.unanswered)) };
  const retry = (): void => {
    void places.refetch();
    void told.refetch();
  };
  const changes = told.data?.changes ?? 0;
  const summary = useMemo(() => (marks ? now.summary(marks.rows) : ""), [now, marks, changes]);
  const points = useMemo(() => (marks ? { ...marks, version: changes } : null), [marks, changes]);
  return (
    <div ref={frame}>
      <Panel title={words.title} hint={words.mapHint} testId="sites" state={state} onRetry={retry}>
        {() =>
          marks && points && same ? (
            <>
              <MapCanvas
                points={points}
                label={words.title}
                colorOf={(at) => now.color(marks.rows[at] ?? -1)}
                shapeOf={(at) => now.shape(marks.rows[at] ?? -1)}
                alarm={(at) => now.alarm(marks.rows[at] ?? -1) >= 0}
                describe={(at) => now.describe(marks.ids[at] ?? "", marks.rows[at] ?? -1)}
                summary={summary}
                onPick={(at) => go(links.site(marks.ids[at] ?? ""))}
              />
              <p className={ui["sub"]}>{words.legend}</p>
            </>
          ) : null
        }
      </Panel>
    </div>
  );
}
