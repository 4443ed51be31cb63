/** How the sites are, asked once a second while somebody sees them: everything once, then what changed. */
import { useQuery, type UseQueryResult } from "@tanstack/react-query";
import { useId, useState } from "react";
import { api } from "../../api/client";
import { SitesNow } from "./mapView";
import type { SiteQuery } from "./siteFilter";

const EVERY_MS = 1_000;

export interface Told {
  readonly version: string;
  readonly total: number;
  readonly unanswered: number;
  readonly through: string | null;
  readonly changes: number;
}

/** The columns are written in place: `changes` of the answer says when. */
export function useSitesNow(asked: SiteQuery, seen: boolean): { now: SitesNow; told: UseQueryResult<Told> } {
  const [now] = useState(() => new SitesNow());
  const id = useId();
  const told = useQuery<Told>({
    queryKey: ["sites-now", id, asked],
    queryFn: async ({ signal }) => {
      const said = await api.get("/api/map/now", { query: { ...asked, since: now.mark }, signal });
      signal.throwIfAborted(); // another filter has been chosen meanwhile
      now.take(said);
      const { version, total, unanswered, through } = said;
      return { version, total, unanswered, through, changes: now.changes };
    },
    enabled: seen,
    refetchInterval: EVERY_MS,
    staleTime: 0,
    gcTime: 0,
    placeholderData: (former) => former,
  });
  return { now, told };
}
