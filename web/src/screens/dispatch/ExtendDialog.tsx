/** Asks by how long an order is extended, says when it then ends, and what the plant has against it. */
import { useId, useState, type FormEvent, type ReactElement } from "react";
import { clock, dayHour } from "../../format/time";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { faultWords } from "../../ui/panelState";
import ui from "../../ui/ui.module.css";
import type { OrderRow } from "./records";
import { strings } from "./strings";

const words = strings.order;
const MINUTES = [15, 30, 60, 120, 240] as const;

export interface ExtendProps {
  readonly row: OrderRow;
  readonly zone: string;
  readonly onExtend: (untilMs: number, reason: string) => Promise<void>;
  readonly onClose: () => void;
}

export function ExtendDialog({ row, zone, onExtend, onClose }: ExtendProps): ReactElement {
  const id = useId();
  const [minutes, setMinutes] = useState(30);
  const [reason, setReason] = useState("");
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState("");
  const untilMs = row.end_ms + minutes * 60_000;
  const send = (event: FormEvent): void => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setFault("");
    onExtend(untilMs, reason.trim()).then(onClose, (error: unknown) => {
      setBusy(false);
      setFault(words.failed(faultWords(error)));
    });
  };
  return (
    <Dialog title={words.extendTitle} onClose={onClose}>
      <form onSubmit={send} className={ui["stack"]}>
        <p className={ui["line"]}>{words.extendBody(dayHour(row.end_ms, zone))}</p>
        <label className={ui["field"]} htmlFor={`${id}-minutes`}>
          {words.extendBy}
          <select id={`${id}-minutes`} data-first className={ui["input"]} value={minutes} onChange={(event) => setMinutes(Number(event.target.value))}>
            {MINUTES.map((one) => (
              <option key={one} value={one}>
                {words.extendWords[one]}
              </option>
            ))}
          </select>
        </label>
        <p className={ui["line"]}>{words.extendTo(clock(untilMs, zone))}</p>
        <label className={ui["field"]} htmlFor={`${id}-reason`}>
          {words.reason}
          <input id={`${id}-reason`} className={ui["input"]} maxLength={500} value={reason} onChange={(event) => setReason(event.target.value)} />
        </label>
        <p role="alert" className={ui["fault"]}>
          {fault}
        </p>
        <div className={ui["buttons"]}>
          <Button onClick={onClose}>{words.cancel}</Button>
          <Button type="submit" kind="primary" busy={busy}>
            {words.extend}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
