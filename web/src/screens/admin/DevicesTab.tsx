/** Devices: a page at a time of however many, enrolled with a secret that is shown once, revoked for a reason. */
import { useState, type FormEvent, type ReactElement } from "react";
import { useAct, useApi } from "../../api/queries";
import { links } from "../../app/links";
import { ScreenLink, useSearch, useSetSearch } from "../../app/nav";
import { codeWords } from "../../format/market";
import { count } from "../../format/number";
import { Button } from "../../ui/Button";
import { useConfirm } from "../../ui/Confirm";
import { DataTable, Sub } from "../../ui/DataTable";
import { Dialog } from "../../ui/Dialog";
import { Age } from "../../ui/figures";
import { Instant } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { faultWords, stateOfQuery } from "../../ui/panelState";
import { Pill, type Tone } from "../../ui/Pill";
import ui from "../../ui/ui.module.css";
import classes from "./admin.module.css";
import { strings } from "./strings";
import { useTyped } from "./useTyped";
import type { DevicePage, DeviceView, EnrolledDevice } from "./words";

const words = strings.devices;
const STATES = ["enrolled", "missing", "revoked"] as const;
type State = (typeof STATES)[number];
const TONES: Record<State, Tone> = { enrolled: "live", missing: "calm", revoked: "warn" };
const LIMIT = 50;
const CHANGED = ["/api/admin/devices", "/api/admin/audit"];

/** The one time that a secret is shown. */
export function SecretDialog({ enrolled, onClose }: { enrolled: EnrolledDevice; onClose: () => void }): ReactElement {
  const [copied, setCopied] = useState(false);
  const canCopy = typeof navigator.clipboard !== "undefined";
  return (
    <Dialog title={words.secretTitle(enrolled.device_id)} onClose={onClose} closeLabel={words.done}>
      <div className={ui["stack"]}>
        <p className={ui["line"]}>{words.secretBody}</p>
        {enrolled.replaced ? <p className={ui["line"]}>{words.secretReplaced}</p> : null}
        <p className={classes["once"]} data-testid="device-secret" aria-label={words.secretLabel} role="group">
          {enrolled.secret}
        </p>
        {canCopy ? (
          <div>
            <Button onClick={() => void navigator.clipboard.writeText(enrolled.secret).then(() => setCopied(true), () => setCopied(false))}>{copied ? words.copied : words.copy}</Button>
          </div>
        ) : null}
      </div>
    </Dialog>
  );
}

function Heard({ device }: { device: DeviceView }): ReactElement {
  if (device.sites === 0) return <span className={ui["sub"]}>{words.noSite}</span>;
  if (!device.asked) return <span className={ui["sub"]}>{words.notAsked}</span>;
  if (device.heard_ms === null) return <span className={ui["sub"]}>{words.heardNever}</span>;
  return (
    <div>
      <Age seconds={device.age_s} {...(device.grade === "fresh" ? {} : { staleAfterS: 0 })} />
      <Sub>
        <Instant ms={device.heard_ms} />
      </Sub>
    </div>
  );
}

interface Acts {
  readonly busy: boolean;
  readonly onEnrol: (device: DeviceView) => void;
  readonly onRevoke: (device: DeviceView) => void;
}

export function DeviceRows({ page, busy, onEnrol, onRevoke }: Acts & { page: DevicePage }): ReactElement {
  return (
    <DataTable
      caption={words.title}
      columns={[{ label: words.device }, { label: words.type }, { label: words.state }, { label: words.enrolled }, { label: words.heard }, { label: words.acts }]}
      rows={page.rows.map((one) => ({
        key: `${one.kind}/${one.device_id}`,
        cells: [
          one.kind === "site" ? (
            <ScreenLink key="device" to={links.site(one.device_id)} className={classes["link"]}>
              {one.device_id}
            </ScreenLink>
          ) : (
            one.device_id
          ),
          <div key="type">
            {one.kind === "gateway" ? words.gateway(words.sites(count(one.sites))) : codeWords(one.device_type ?? "")}
            {one.kind === "gateway" ? null : <Sub>{one.firmware === null ? words.noFirmware : words.firmware(one.firmware)}</Sub>}
          </div>,
          <Pill key="state" tone={TONES[one.state]} dot={one.state === "enrolled"}>
            {words.stateWords[one.state]}
          </Pill>,
          <div key="enrolled">
            {one.enrolled_ms === null ? strings.never : one.enrolled_ms === 0 ? words.notRecorded : <Instant ms={one.enrolled_ms} show="clock" />}
            {one.revoked_ms === null ? null : (
              <Sub>
                {words.stateWords.revoked} <Instant ms={one.revoked_ms} show="clock" />
              </Sub>
            )}
          </div>,
          <Heard key="heard" device={one} />,
          <div key="acts" className={classes["buttons"]}>
            <Button busy={busy} label={one.state === "missing" ? words.enrolNamed(one.device_id) : words.renewNamed(one.device_id)} onClick={() => onEnrol(one)}>
              {one.state === "missing" ? words.enrol : words.renew}
            </Button>
            {one.state === "enrolled" ? (
              <Button busy={busy} label={words.revokeNamed(one.device_id)} onClick={() => onRevoke(one)}>
                {words.revoke}
              </Button>
            ) : null}
          </div>,
        ],
      }))}
    />
  );
}

export function DevicesTab(): ReactElement {
  const search = useSearch();
  const setSearch = useSetSearch();
  const state = STATES.find((one) => one === search["state"]);
  const text = search["text"] ?? "";
  const after = search["after"] ?? "";
  const [typed, setTyped] = useTyped(text);
  const query = useApi("/api/admin/devices", { query: { text, after, limit: LIMIT, ...(state ? { state } : {}) } }, { keep: true });
  const enrol = useAct("post", "/api/admin/devices/{device_id}/enrol", { refresh: CHANGED });
  const revoke = useAct("post", "/api/admin/devices/{device_id}/revoke", { refresh: CHANGED });
  const confirm = useConfirm();
  const [secret, setSecret] = useState<EnrolledDevice | null>(null);
  const [said, setSaid] = useState("");
  const [fault, setFault] = useState("");
  const page = query.data;

  const attempt = async (act: () => Promise<void>): Promise<void> => {
    setSaid("");
    setFault("");
    try {
      await act();
    } catch (error) {
      setFault(faultWords(error));
    }
  };
  const onEnrol = (device: DeviceView): void =>
    void attempt(async () => {
      const name = device.device_id;
      if (device.state === "enrolled" && (await confirm({ title: words.renewTitle(name), body: words.renewBody, act: words.renewAct, danger: true })) === null) return;
      setSecret(await enrol.run({ path: { device_id: name } }));
      enrol.reset(); // the answer is kept nowhere else
    });
  const onRevoke = (device: DeviceView): void =>
    void attempt(async () => {
      const name = device.device_id;
      const asked = await confirm({ title: words.revokeTitle(name), body: words.revokeBody(words.sites(count(device.sites))), act: words.revokeAct, danger: true, needReason: true });
      if (asked === null) return;
      await revoke.run({ path: { device_id: name }, body: { reason: asked.reason } });
      setSaid(words.revoked(name));
    });
  const find = (event: FormEvent): void => {
    event.preventDefault();
    setSearch({ text: typed.trim() || undefined, after: undefined });
  };
  const filtered = text !== "" || state !== undefined || after !== "";

  return (
    <Panel title={words.title} hint={words.hint} testId="admin-devices" state={stateOfQuery(query, (data) => (data.devices === 0 ? words.empty : null))} onRetry={() => void query.refetch()}>
      {() => (
        <>
          <form className={classes["filters"]} onSubmit={find}>
            <label className={ui["field"]}>
              {strings.search}
              <input className={ui["input"]} data-search value={typed} maxLength={64} autoComplete="off" spellCheck={false} onChange={(event) => setTyped(event.target.value)} />
            </label>
            <Button type="submit">{strings.find}</Button>
            <label className={ui["field"]}>
              {words.state}
              <select className={ui["input"]} value={state ?? ""} onChange={(event) => setSearch({ state: event.target.value || undefined, after: undefined })}>
                <option value="">{words.any}</option>
                {STATES.map((one) => (
                  <option key={one} value={one}>
                    {words.stateWords[one]}
                  </option>
                ))}
              </select>
            </label>
          </form>
          {page === undefined ? null : (
            <>
              <p className={classes["count"]}>{words.counts(count(page.devices), count(page.enrolled), count(page.missing), count(page.revoked))}</p>
              {page.rows.length === 0 ? <p className={ui["message"]}>{words.nothing}</p> : <DeviceRows page={page} busy={enrol.busy || revoke.busy} onEnrol={onEnrol} onRevoke={onRevoke} />}
              <div className={classes["pager"]}>
                {filtered && after !== "" ? <Button onClick={() => setSearch({ after: undefined })}>{strings.first}</Button> : null}
                {page.next === null ? null : <Button onClick={() => setSearch({ after: page.next ?? undefined })}>{strings.next}</Button>}
              </div>
            </>
          )}
          <p role="status" className={classes["said"]}>
            {said}
          </p>
          <p role="alert" className={ui["fault"]}>
            {fault}
          </p>
          {secret === null ? null : <SecretDialog enrolled={secret} onClose={() => setSecret(null)} />}
        </>
      )}
    </Panel>
  );
}
