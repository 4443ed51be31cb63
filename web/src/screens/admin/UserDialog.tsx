/** Asks who a user is and as what; a password that was made up is shown once, to be handed over. */
import { useId, useState, type FormEvent, type ReactElement } from "react";
import { useAct } from "../../api/queries";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { faultWords } from "../../ui/panelState";
import ui from "../../ui/ui.module.css";
import classes from "./admin.module.css";
import { strings } from "./strings";
import { madePassword, namesIn, ROLES, type Role, type UserView } from "./words";

const words = strings.users;

export interface UserDialogProps {
  /** Who is changed; null for somebody new. */
  readonly user: UserView | null;
  /** Nobody may sign in yet: the door closes behind this one. */
  readonly first: boolean;
  readonly refresh: readonly string[];
  readonly onDone: (name: string) => void;
  readonly onClose: () => void;
}

export function UserDialog({ user, first, refresh, onDone, onClose }: UserDialogProps): ReactElement {
  const id = useId();
  const put = useAct("put", "/api/admin/users/{name}", { refresh });
  const [name, setName] = useState(user?.name ?? "");
  const [roles, setRoles] = useState<readonly string[]>(user?.roles ?? (first ? ["admin"] : ["viewer"]));
  const [sites, setSites] = useState((user?.sites ?? []).join(" "));
  const [password, setPassword] = useState("");
  const [made, setMade] = useState(false);
  const [fault, setFault] = useState("");
  const owner = roles.includes("homeowner");
  const lacksAdmin = first && !roles.includes("admin");

  const toggle = (role: Role): void => setRoles(roles.includes(role) ? roles.filter((one) => one !== role) : ROLES.filter((one) => one === role || roles.includes(one)));
  const makeUp = (): void => {
    setPassword(madePassword());
    setMade(true);
  };
  const send = (event: FormEvent): void => {
    event.preventDefault();
    if (put.busy || lacksAdmin) return;
    setFault("");
    const body = { roles: [...roles], sites: owner ? namesIn(sites) : [], password: password === "" ? null : password };
    put.run({ path: { name: name.trim() }, body }).then(
      (saved) => {
        onDone(saved?.name ?? name);
        onClose();
        // the page was open to everybody until now: what is shown to nobody in particular must not stay
        if (first) window.location.reload();
      },
      (error: unknown) => setFault(faultWords(error)),
    );
  };

  return (
    <Dialog title={user === null ? words.addTitle : words.changeTitle(user.name)} onClose={onClose}>
      <form onSubmit={send} className={ui["stack"]} autoComplete="off">
        {first ? <p className={ui["line"]}>{words.open}</p> : null}
        {user === null ? (
          <label className={ui["field"]} htmlFor={`${id}-name`}>
            {words.name}
            <input
              id={`${id}-name`}
              data-first
              className={ui["input"]}
              value={name}
              required
              maxLength={64}
              autoComplete="off"
              spellCheck={false}
              aria-describedby={`${id}-hint`}
              onChange={(event) => setName(event.target.value)}
            />
            <span id={`${id}-hint`} className={classes["beside"]}>
              {words.nameHint}
            </span>
          </label>
        ) : null}
        <fieldset className={classes["roles"]}>
          <legend>{words.roles}</legend>
          {ROLES.map((role) => (
            <label key={role}>
              <input type="checkbox" checked={roles.includes(role)} onChange={() => toggle(role)} />
              {words.roleWords[role]}
            </label>
          ))}
        </fieldset>
        {lacksAdmin ? <p className={ui["fault"]}>{words.firstAdmin}</p> : null}
        {owner ? (
          <label className={ui["field"]} htmlFor={`${id}-sites`}>
            {words.sitesField}
            <textarea id={`${id}-sites`} className={ui["input"]} rows={2} value={sites} spellCheck={false} onChange={(event) => setSites(event.target.value)} />
          </label>
        ) : null}
        <label className={ui["field"]} htmlFor={`${id}-password`}>
          {user === null ? words.passwordField : words.passwordKeep}
          <input
            id={`${id}-password`}
            className={ui["input"]}
            type={made ? "text" : "password"}
            value={password}
            required={user === null}
            minLength={12}
            autoComplete="new-password"
            spellCheck={false}
            onChange={(event) => {
              setPassword(event.target.value);
              setMade(false);
            }}
          />
        </label>
        {made ? (
          <p role="status" className={ui["line"]}>
            {words.made}
          </p>
        ) : null}
        <div>
          <Button onClick={makeUp}>{words.make}</Button>
        </div>
        <p role="alert" className={ui["fault"]}>
          {fault}
        </p>
        <div className={ui["buttons"]}>
          <Button onClick={onClose}>{strings.cancel}</Button>
          <Button type="submit" kind="primary" busy={put.busy} disabled={lacksAdmin || roles.length === 0}>
            {user === null ? words.addAct : words.save}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
