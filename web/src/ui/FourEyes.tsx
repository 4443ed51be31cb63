/** What one person proposes and another has to approve. Nobody approves what is their own. */
import { useId, useState, type ReactElement } from "react";
import { strings } from "../strings";
import { Button } from "./Button";
import { Instant } from "./Instant";
import classes from "./ui.module.css";

const words = strings.fourEyes;

export interface Proposal {
  readonly by: string;
  readonly atMs: number;
  readonly reason: string;
}

export interface FourEyesProps {
  readonly proposal: Proposal;
  /** The reader's own name; null for somebody without one. */
  readonly me: string | null;
  readonly mayDecide: boolean;
  readonly onApprove: (note: string) => Promise<void>;
  readonly onRefuse: (note: string) => Promise<void>;
}

export function FourEyes({ proposal, me, mayDecide, onApprove, onRefuse }: FourEyesProps): ReactElement {
  const id = useId();
  const [note, setNote] = useState("");
  const [busy, setBusy] = useState<"approve" | "refuse" | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const own = me !== null && me === proposal.by;
  const decide = (which: "approve" | "refuse", act: (note: string) => Promise<void>): void => {
    setBusy(which);
    setFault(null);
    act(note.trim())
      .catch((error: unknown) => setFault(error instanceof Error ? error.message : String(error)))
      .finally(() => setBusy(null));
  };
  return (
    <div className={classes["stack"]} data-testid="four-eyes">
      <p className={classes["line"]}>
        {words.proposed(proposal.by)} <Instant ms={proposal.atMs} show="dayHour" />
        {proposal.reason ? `: ${proposal.reason}` : null}
      </p>
      {own ? <p className={classes["line"]}>{words.own}</p> : null}
      {!own && !mayDecide ? <p className={classes["line"]}>{words.mayNot}</p> : null}
      {!own && mayDecide ? (
        <>
          <label className={classes["field"]} htmlFor={id}>
            {words.note}
            <input id={id} className={classes["input"]} value={note} maxLength={500} onChange={(event) => setNote(event.target.value)} />
          </label>
          <div className={classes["buttons"]}>
            <Button busy={busy === "refuse"} disabled={busy !== null} onClick={() => decide("refuse", onRefuse)}>
              {words.refuse}
            </Button>
            <Button kind="primary" busy={busy === "approve"} disabled={busy !== null} onClick={() => decide("approve", onApprove)}>
              {words.approve}
            </Button>
          </div>
        </>
      ) : null}
      <div role="alert" className={classes["fault"]}>
        {fault}
      </div>
    </div>
  );
}
