/** One home for its owner: what it does, what is asked of it, what is kept, what it earned, and who sees it. */
import { lazy, Suspense, useState, type ReactElement } from "react";
import { api } from "../api/client";
import { useSession } from "../app/session";
import { clock, utc } from "../format/time";
import { useNowMs, usePresence } from "../live/now";
import { useLivePart } from "../live/store";
import { Button } from "../ui/Button";
import { ConfirmProvider } from "../ui/Confirm";
import { Flow } from "./Flow";
import classes from "./Home.module.css";
import { strings } from "./strings";
import { useRead } from "./useRead";

const Events = lazy(() => import("./Events").then((found) => ({ default: found.Events })));
const Below = lazy(() => import("./Below"));
const PasswordDialog = lazy(() => import("../app/password/Password"));
const SITE_EVERY_MS = 15_000;
const EVENTS_EVERY_MS = 5_000;
const RARELY_MS = 300_000;

/** The home that is shown: the one that was asked for where the reader may, else the reader's first. */
export function homeOf(asked: string | null, sites: readonly string[] | null): string | null {
  if (sites === null) return asked;
  return asked !== null && sites.includes(asked) ? asked : (sites[0] ?? null);
}

/** The plant's clock, with its zone: every time on the page is by it. */
function Clock(): ReactElement {
  const now = useNowMs();
  const zone = useLivePart("zone");
  if (now === null || zone === null) return <p className={classes["dim"]} role="status">{strings.asking}</p>;
  return (
    <p className={classes["clock"]} title={utc(now)} data-testid="home-clock">
      {clock(now, zone)}
    </p>
  );
}

/** Says when what is shown may be old. */
function Connection(): ReactElement | null {
  const { presence } = usePresence();
  if (presence !== "reconnecting" && presence !== "stale") return null;
  return (
    <p className={classes["note"]} role="status" data-testid="home-connection">
      {presence === "stale" ? strings.old : strings.lost}
    </p>
  );
}

function OneHome({ siteId }: { siteId: string }): ReactElement {
  const [month, setMonth] = useState<string | null>(null);
  const path = { site_id: siteId };
  const site = useRead(siteId, (signal) => api.get("/api/home/sites/{site_id}", { path, signal }), SITE_EVERY_MS);
  const events = useRead(siteId, (signal) => api.get("/api/home/sites/{site_id}/events", { path, signal }), EVENTS_EVERY_MS);
  const earnings = useRead(`${siteId} ${month ?? ""}`, (signal) => api.get("/api/home/sites/{site_id}/earnings", { path, query: month === null ? undefined : { month }, signal }), RARELY_MS);
  const sharing = useRead(siteId, (signal) => api.get("/api/home/sites/{site_id}/sharing", { path, signal }), RARELY_MS);
  const zone = site.value?.zone ?? "UTC";
  return (
    <div className={classes["cards"]}>
      <div>
        <Flow siteId={siteId} reserve={site.value?.reserve.reserve_frac ?? null} />
        <Suspense fallback={<p role="status">{strings.asking}</p>}>
          <Events siteId={siteId} zone={zone} read={events} />
        </Suspense>
      </div>
      <div>
        <Suspense fallback={<p role="status">{strings.asking}</p>}>
          <Below siteId={siteId} site={site} earnings={{ read: earnings, onMonth: setMonth }} sharing={{ programs: site.value?.programs ?? [], zone, read: sharing }} />
        </Suspense>
      </div>
    </div>
  );
}

export function Home({ asked }: { asked: string | null }): ReactElement {
  const { session, signOut } = useSession();
  const [chosen, setChosen] = useState(asked);
  const [changing, setChanging] = useState(false);
  const siteId = homeOf(chosen, session.sites);
  const several = (session.sites?.length ?? 0) > 1;
  return (
    <main className={classes["page"]}>
      <ConfirmProvider>
        <header className={classes["head"]}>
          <h1>{strings.title}</h1>
          {several ? (
            <select className={classes["select"]} aria-label={strings.choose} value={siteId ?? ""} onChange={(event) => setChosen(event.target.value)}>
              {session.sites?.map((site) => (
                <option key={site} value={site}>{site}</option>
              ))}
            </select>
          ) : (
            <span className={classes["dim"]} data-testid="home-name">{siteId ?? ""}</span>
          )}
        </header>
        <Clock />
        <Connection />
        {siteId === null ? (
          <>
            <p>{strings.which}</p>
            <p className={classes["dim"]}>{strings.whichHint}</p>
          </>
        ) : (
          <OneHome key={siteId} siteId={siteId} />
        )}
        {session.mode === "user" ? (
          <footer className={classes["foot"]}>
            <span className={classes["dim"]}>{strings.signedIn(session.name ?? "")}</span>
            <span className={classes["leave"]}>
              <Button onClick={() => setChanging(true)}>{strings.changePassword}</Button>
              <Button onClick={() => void signOut()}>{strings.signOut}</Button>
            </span>
          </footer>
        ) : null}
        {changing ? (
          <Suspense fallback={null}>
            <PasswordDialog onClose={() => setChanging(false)} />
          </Suspense>
        ) : null}
      </ConfirmProvider>
    </main>
  );
}
