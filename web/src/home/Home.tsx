/** One home, live: what its battery, roof and connection do now, and how old that is. */
import type { ReactElement, ReactNode } from "react";
import type { Schema } from "../api/client";
import { useSession } from "../app/session";
import { percent } from "../format/number";
import { batteryPhrase, gridPhrase, powerSize } from "../format/power";
import { duration } from "../format/time";
import { useFeed } from "../live/store";
import classes from "./Home.module.css";
import { strings } from "./strings";

/** The home that is shown: the one that was asked for where the reader may, else the reader's first. */
export function homeOf(asked: string | null, sites: readonly string[] | null): string | null {
  if (sites === null) return asked;
  return asked !== null && sites.includes(asked) ? asked : (sites[0] ?? null);
}

function Line({ name, children }: { name: string; children: ReactNode }): ReactElement {
  return (
    <div className={classes["line"]}>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Flow({ siteId }: { siteId: string }): ReactElement {
  const feed = useFeed<Schema["HomeNow"]>(`home/${siteId}`);
  const now = feed.value;
  if (feed.fault !== null) return <p role="alert">{feed.fault}</p>;
  if (now === null) return <p role="status">{strings.waiting}</p>;
  if (now.age_s === null) return <p>{strings.never}</p>;
  const say = (kw: number | null, words: (kw: number) => string): string => (kw === null ? strings.unknown : words(kw));
  return (
    <section aria-labelledby="live" data-testid="home-live">
      <h2 id="live">{strings.live}</h2>
      <p className={classes["dim"]}>{strings.asOf(duration(now.age_s))}</p>
      <dl className={classes["flow"]}>
        <Line name={strings.battery}>{say(now.battery_kw, batteryPhrase)}</Line>
        <Line name={strings.charge}>{now.soc_frac === null ? strings.unknown : percent(now.soc_frac)}</Line>
        <Line name={strings.solar}>{say(now.solar_kw, powerSize)}</Line>
        <Line name={strings.load}>{say(now.load_kw, powerSize)}</Line>
        {now.ev_kw === null ? null : <Line name={strings.car}>{powerSize(now.ev_kw)}</Line>}
        <Line name={strings.grid}>{say(now.grid_kw, gridPhrase)}</Line>
      </dl>
    </section>
  );
}

export function Home({ asked }: { asked: string | null }): ReactElement {
  const { session } = useSession();
  const siteId = homeOf(asked, session.sites);
  return (
    <main className={classes["page"]}>
      <h1>{strings.title}</h1>
      {siteId === null ? (
        <>
          <p>{strings.which}</p>
          <p className={classes["dim"]}>{strings.whichHint}</p>
        </>
      ) : (
        <Flow siteId={siteId} />
      )}
    </main>
  );
}
