/** The sites on the map: places once, how they are every two seconds. */
import { useMemo, type ReactElement } from "react";
import { useApi } from "../../api/queries";
import { links } from "../../app/links";
import { useGo } from "../../app/nav";
import { count } from "../../format/number";
import { MapCanvas } from "../../map/MapCanvas";
import { Panel } from "../../ui/Panel";
import { LOADING, stateOfQuery, type PanelState } from "../../ui/panelState";
import ui from "../../ui/ui.module.css";
import { alarmAt, colorAt, describeAt, marksOf, pointsOf, shapeAt, summaryOf } from "./mapView";
import { isNarrowed, queryOf, type SiteFilter } from "./siteFilter";
import { strings } from "./strings";

const words = strings.sites;
/** The filter lets everything through. */
const ALL = "all";

export default function SitesMap({ filter }: { filter: SiteFilter }): ReactElement {
  const go = useGo();
  const places = useApi("/api/map/sites", {});
  const query = useApi("/api/map/now", { query: queryOf(filter) }, { everyMs: 2_000, keep: true });
  const now = query.data;
  const rowsKey = now === undefined ? "" : now.row === null ? ALL : now.row.join();
  const marks = useMemo(() => {
    if (!places.data || rowsKey === "") return null;
    return marksOf(places.data, rowsKey === ALL ? places.data.site_ids.map((_, row) => row) : rowsKey.split(",").map(Number));
  }, [places.data, rowsKey]);
  const known = now && places.data && now.version === places.data.version ? now : null;
  let state: PanelState = places.data === undefined ? stateOfQuery(places) : stateOfQuery(query, (data) => (data.total > 0 ? null : isNarrowed(filter) ? words.none : words.noSites));
  if (state.kind === "ready" && known === null) state = LOADING;
  if (state.kind === "ready" && now && now.unanswered > 0) state = { kind: "partial", words: words.unanswered(count(now.unanswered)) };
  const retry = (): void => {
    void places.refetch();
    void query.refetch();
  };
  return (
    <Panel title={words.title} hint={words.mapHint} testId="sites" state={state} onRetry={retry}>
      {() =>
        known && marks ? (
          <>
            <MapCanvas
              points={pointsOf(marks, query.dataUpdatedAt)}
              label={words.title}
              colorOf={(at) => colorAt(known, at)}
              shapeOf={(at) => shapeAt(known, at)}
              alarm={(at) => alarmAt(known, at)}
              describe={(at) => describeAt(known, marks.ids[at] ?? "", at)}
              summary={(rows) => summaryOf(known, rows)}
              onPick={(at) => go(links.site(marks.ids[at] ?? ""))}
            />
            <p className={ui["sub"]}>{words.legend}</p>
          </>
        ) : null
      }
    </Panel>
  );
}
