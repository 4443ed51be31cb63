/** The groups below what is open, asked for once and then kept fresh over the socket. */
import { useEffect, useMemo, useState } from "react";
import { readGroups } from "../../api/plant";
import type { Group } from "../../api/types";
import { useLive, useLivePart, useWatched } from "../../live/store";
import { newest, queryOf, type Opened } from "./groupRows";

const TYPING_MS = 250;

export interface Groups {
  readonly groups: readonly Group[];
  readonly total: number;
  readonly waiting: boolean;
  readonly fault: string | null;
}

interface Answer {
  readonly key: string;
  readonly groups: readonly Group[];
  readonly total: number;
  readonly fault: string | null;
}

export function useGroups(opened: Opened): Groups {
  const roots = useLivePart("groups") ?? [];
  const link = useLive((view) => view.link);
  const query = queryOf(opened);
  const key = query === null ? "" : JSON.stringify(query);
  const [answer, setAnswer] = useState<Answer | null>(null);

  useEffect(() => {
    // After a reconnection the plant may be another one: ask again.
    if (key === "" || link !== "live") return;
    const gone = new AbortController();
    const ask = window.setTimeout(() => {
      readGroups(JSON.parse(key), gone.signal).then(
        (page) => setAnswer({ key, groups: page.groups, total: page.total, fault: null }),
        (error: unknown) => {
          if (!gone.signal.aborted) setAnswer({ key, groups: [], total: 0, fault: error instanceof Error ? error.message : String(error) });
        },
      );
    }, opened.text === "" ? 0 : TYPING_MS);
    return () => {
      window.clearTimeout(ask);
      gone.abort();
    };
  }, [key, link, opened.text]);

  const asked = key === "" ? null : answer;
  const watched = useWatched(useMemo(() => (asked?.groups ?? []).map((one) => one.group_id), [asked]));
  if (key === "") return { groups: roots, total: roots.length, waiting: false, fault: null };
  // While something new is asked for, what was there before stays.
  return {
    groups: newest(answer?.groups ?? [], watched),
    total: answer?.total ?? 0,
    waiting: answer?.key !== key,
    fault: answer?.key === key ? answer.fault : null,
  };
}
