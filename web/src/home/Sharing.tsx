/** Who sees what of the home, what it takes part in, and to what its owner agreed. */
import type { ReactElement } from "react";
import type { Schema } from "../api/client";
import { ReadCard } from "./Card";
import classes from "./Home.module.css";
import { strings } from "./strings";
import type { Read } from "./useRead";
import { When } from "./When";

const words = strings.sharing;

function seen(reader: Schema["HomeReader"]): string {
  if (reader.sees_live) return words.sees;
  return reader.party === "markets" ? words.marketsSee : words.othersSee;
}

function Reader({ reader }: { reader: Schema["HomeReader"] }): ReactElement {
  const who = reader.names.length > 0 ? reader.names.join(", ") : reader.people === null ? "" : words.people(reader.people);
  return (
    <li>
      <strong>{words[reader.party]}</strong>
      {who === "" ? null : <span className={classes["aside"]}>{who}</span>}
      <p className={classes["dim"]}>{seen(reader)}</p>
    </li>
  );
}

function Consent({ consent, zone }: { consent: Schema["HomeConsent"]; zone: string }): ReactElement {
  return (
    <li>
      <strong>{consent.program}</strong>{" "}
      {consent.withdrawn_ms === null ? (
        <>
          {consent.from_ms > 0 ? words.since : words.always} {consent.from_ms > 0 ? <When ms={consent.from_ms} zone={zone} /> : null}
        </>
      ) : (
        <>
          {words.ended} <When ms={consent.withdrawn_ms} zone={zone} />
        </>
      )}
      <p className={classes["dim"]}>
        {[consent.consented_by === "" ? "" : words.givenBy(consent.consented_by), consent.terms === "" ? "" : words.terms(consent.terms)].filter((part) => part !== "").join(", ")}
      </p>
    </li>
  );
}

export interface SharingProps {
  readonly programs: readonly Schema["HomeProgram"][];
  readonly zone: string;
  readonly read: Read<Schema["HomeSharing"]>;
}

export function Sharing({ programs, zone, read }: SharingProps): ReactElement {
  return (
    <ReadCard title={words.title} testId="home-sharing" read={read}>
      {(sharing) => (
        <>
          {sharing.readers.every((reader) => reader.people === null) ? <p className={classes["note"]}>{words.open}</p> : null}
          <ul className={classes["plain"]}>
            {sharing.readers.map((reader) => (
              <Reader key={reader.party} reader={reader} />
            ))}
          </ul>
          <details className={classes["more"]}>
            <summary>{words.programs}</summary>
            <ul className={classes["plain"]}>
              {programs.map((program) => (
                <li key={program.program_id}>
                  <strong>{program.name}</strong>
                  <span className={classes["aside"]}>{program.left ? words.left : words.pays[program.pays]}</span>
                </li>
              ))}
            </ul>
          </details>
          <details className={classes["more"]}>
            <summary>{words.consents}</summary>
            {sharing.consents.length === 0 ? <p>{words.noConsents}</p> : null}
            <ul className={classes["plain"]}>
              {sharing.consents.map((consent) => (
                <Consent key={`${consent.program_id} ${consent.from_ms}`} consent={consent} zone={zone} />
              ))}
            </ul>
          </details>
        </>
      )}
    </ReadCard>
  );
}
