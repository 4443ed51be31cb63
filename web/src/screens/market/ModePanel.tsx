/** How a resource bids: by itself, with a person's approval, or not at all; and who said so. */
import { useState, type ReactElement } from "react";
import { useMay } from "../../app/session";
import { useAct } from "../../api/queries";
import { Button } from "../../ui/Button";
import { useConfirm } from "../../ui/Confirm";
import { Instant } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { faultWords } from "../../ui/panelState";
import classes from "./market.module.css";
import { strings } from "./strings";
import type { Resource } from "./words";

const words = strings.mode;
type Mode = Resource["mode"]["mode"];
const MODES: readonly Mode[] = ["automatic", "advisory", "off"];

export function ModePanel({ resource }: { resource: Resource }): ReactElement {
  const held = resource.mode;
  const mayTrade = useMay("trade");
  const ask = useConfirm();
  const act = useAct("put", "/api/market/{resource}/mode", { refresh: ["/api/market"] });
  const [wanted, setWanted] = useState<Mode | null>(null);
  const [eyes, setEyes] = useState<boolean | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const mode = wanted ?? held.mode;
  const fourEyes = eyes ?? held.four_eyes;
  const changed = mode !== held.mode || fourEyes !== held.four_eyes;
  const save = async (): Promise<void> => {
    setFault(null);
    const agreed = await ask({
      title: words.ask(resource.resource_id),
      body: (
        <>
          <p className={classes["line"]}>{words.saving(strings.modes[mode])}</p>
          <p className={classes["line"]}>{mode === "off" ? words.offFollows : strings.modeHints[mode]}</p>
          <p className={classes["line"]}>{fourEyes ? words.fourEyes : words.oneEye}</p>
        </>
      ),
      act: words.save,
      danger: mode === "off",
      needReason: true,
    });
    if (agreed === null) return;
    try {
      await act.run({ path: { resource: resource.resource_id }, body: { mode, four_eyes: fourEyes, reason: agreed.reason } });
      setWanted(null);
      setEyes(null);
    } catch (error) {
      setFault(faultWords(error));
    }
  };
  return (
    <Panel title={words.title} hint={words.hint} testId="market-mode" state={{ kind: "ready" }}>
      {() => (
        <>
          <p className={classes["line"]}>
            <strong>{strings.modes[held.mode]}</strong>
            {": "}
            {held.by === "" ? words.never : <>{words.set(held.by)} {held.at_ms === null ? null : <Instant ms={held.at_ms} zone={resource.zone} />}</>}
            {held.reason === "" ? null : <> ({held.reason})</>}
          </p>
          <p className={classes["note"]}>{strings.modeHints[held.mode]}</p>
          {mayTrade ? (
            <>
              <div className={classes["pickers"]}>
                <label className={classes["field"]}>
                  {words.choose}
                  <select value={mode} onChange={(event) => setWanted(event.target.value as Mode)}>
                    {MODES.map((one) => (
                      <option key={one} value={one}>
                        {strings.modes[one]}
                      </option>
                    ))}
                  </select>
                </label>
                <label className={classes["check"]}>
                  <input type="checkbox" checked={fourEyes} onChange={(event) => setEyes(event.target.checked)} />
                  {words.two}
                </label>
                <Button kind="primary" disabled={!changed} busy={act.busy} onClick={() => void save()}>
                  {words.save}
                </Button>
              </div>
              <p role="alert" className={classes["fault"]}>
                {fault}
              </p>
            </>
          ) : (
            <p className={classes["note"]}>{words.mayNot}</p>
          )}
        </>
      )}
    </Panel>
  );
}
