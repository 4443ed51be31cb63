/** The decision made again: a button, and what came of it. Nothing is sent by it. */
import { useEffect, useState, type ReactElement } from "react";
import type { Schema } from "../../api/client";
import { useAct, useApi } from "../../api/queries";
import { count } from "../../format/number";
import { duration } from "../../format/time";
import { Allowed } from "../../ui/Allowed";
import { Button } from "../../ui/Button";
import { DataTable, Sub } from "../../ui/DataTable";
import { Panel } from "../../ui/Panel";
import { Pill } from "../../ui/Pill";
import type { Held } from "./Run";
import classes from "./run.module.css";
import { strings } from "./strings";

const words = strings.replay;
const ASK_MS = 1_000;

type Replay = Schema["RunReplay"];

function Differences({ replay }: { replay: Replay }): ReactElement | null {
  if (replay.differs.length === 0) return null;
  return (
    <DataTable
      long
      caption={words.caption}
      columns={[{ label: words.what }, { label: words.where }, { label: words.recorded }, { label: words.replayed }]}
      rows={replay.differs.map((one, i) => ({ key: `${i} ${one.where}`, cells: [words.whats[one.what], one.where, one.recorded, one.replayed] }))}
    />
  );
}

export function Outcome({ replay }: { replay: Replay }): ReactElement {
  if (replay.state === "none") return <p className={classes["note"]}>{words.none}</p>;
  if (replay.state === "running") return <p className={classes["note"]}>{words.running}</p>;
  const said =
    replay.state === "failed"
      ? words.failed
      : replay.verdict === "same"
        ? words.same
        : replay.verdict === "refused"
          ? words.refused
          : words.different(count(replay.differs.length));
  return (
    <>
      <p className={classes["verdict"]} data-testid="replay-verdict">
        <Pill tone={replay.same ? "live" : "warn"}>{said}</Pill>
      </p>
      {replay.reason === "" ? null : <p className={classes["note"]}>{replay.reason}</p>}
      <Differences replay={replay} />
      {replay.took_s === null ? null : <Sub>{words.took(duration(replay.took_s), replay.by)}</Sub>}
    </>
  );
}

export function ReplayPanel({ state, detail, onRetry, workflowId }: Held & { workflowId: string }): ReactElement {
  const path = { run_id: workflowId };
  const [running, setRunning] = useState(false);
  const may = detail !== undefined && detail.no_replay === "";
  const query = useApi("/api/runs/{run_id}/replay", { path }, { enabled: may, ...(running ? { everyMs: ASK_MS } : {}) });
  const act = useAct("post", "/api/runs/{run_id}/replay", { refresh: ["/api/runs/{run_id}/replay"] });
  const replay = query.data;
  useEffect(() => setRunning(replay?.state === "running"), [replay]);
  // A fault is told below the button; the promise has nobody else who waits for it.
  const ask = (): void => void act.run({ path }).catch(() => undefined);
  const over = replay !== undefined && (replay.state === "done" || replay.state === "failed");
  return (
    <Panel title={words.title} hint={words.hint} testId="run-replay" state={state} empty={detail && !may ? words.cannot(detail.no_replay) : null} onRetry={onRetry}>
      {() => (
        <>
          <Allowed right="trade" otherwise={<p className={classes["note"]}>{words.may}</p>}>
            <div>
              <Button onClick={ask} busy={act.busy || running} testId="replay">
                {over ? words.again : words.act}
              </Button>
            </div>
          </Allowed>
          {act.fault === null ? null : (
            <p role="alert" className={classes["note"]}>
              {act.fault}
            </p>
          )}
          <div role="status">{replay ? <Outcome replay={replay} /> : null}</div>
        </>
      )}
    </Panel>
  );
}
