/** Who may sign in as what: added, changed, removed. */
import { useState, type ReactElement } from "react";
import { useAct, useApi } from "../../api/queries";
import { useSession } from "../../app/session";
import { count } from "../../format/number";
import { Button } from "../../ui/Button";
import { useConfirm } from "../../ui/Confirm";
import { DataTable, Sub } from "../../ui/DataTable";
import { Instant } from "../../ui/Instant";
import { Panel } from "../../ui/Panel";
import { faultWords, stateOfQuery } from "../../ui/panelState";
import ui from "../../ui/ui.module.css";
import classes from "./admin.module.css";
import { strings } from "./strings";
import { UserDialog } from "./UserDialog";
import type { UserView } from "./words";

const words = strings.users;
const CHANGED = ["/api/admin/users", "/api/admin/audit"];

export function UsersTab(): ReactElement {
  const query = useApi("/api/admin/users", {});
  const remove = useAct("delete", "/api/admin/users/{name}", { refresh: CHANGED });
  const confirm = useConfirm();
  const { session } = useSession();
  const [open, setOpen] = useState<UserView | "new" | null>(null);
  const [said, setSaid] = useState("");
  const [fault, setFault] = useState("");
  const users = query.data ?? [];

  const ask = async (user: UserView): Promise<void> => {
    const confirmed = await confirm({ title: words.removeTitle(user.name), body: words.removeBody(words.sessions(count(user.sessions))), act: words.removeAct, danger: true });
    if (confirmed === null) return;
    try {
      await remove.run({ path: { name: user.name } });
      setFault("");
      setSaid(words.removed(user.name));
    } catch (error) {
      setSaid("");
      setFault(faultWords(error));
    }
  };

  return (
    <Panel
      title={words.title}
      hint={words.hint}
      testId="admin-users"
      state={stateOfQuery(query)}
      onRetry={() => void query.refetch()}
      actions={
        <Button kind="primary" onClick={() => setOpen("new")}>
          {words.add}
        </Button>
      }
    >
      {() => (
        <>
          {users.length === 0 ? (
            <p className={ui["message"]}>
              {words.empty} {words.open}
            </p>
          ) : (
            <DataTable
              caption={words.title}
              columns={[{ label: words.name }, { label: words.roles }, { label: words.added }, { label: words.password }, { label: words.signedIn, end: true }, { label: strings.devices.acts }]}
              rows={users.map((user) => {
                const me = session.mode === "user" && session.name === user.name;
                return {
                  key: user.name,
                  cells: [
                    <div key="name" className={classes["name"]}>
                      {user.name}
                      {me ? <Sub>{words.you}</Sub> : null}
                    </div>,
                    <div key="roles">
                      {strings.and(user.roles.map((role) => words.roleNames[role] ?? role))}
                      {user.sites.length > 0 ? <Sub>{strings.and([...user.sites])}</Sub> : null}
                    </div>,
                    <div key="added">
                      <Instant ms={user.made_ms} show="clock" />
                      <Sub>{words.by(user.made_by)}</Sub>
                    </div>,
                    <Instant key="password" ms={user.password_ms} show="clock" />,
                    count(user.sessions),
                    <div key="acts" className={classes["buttons"]}>
                      <Button label={words.changeNamed(user.name)} onClick={() => setOpen(user)}>
                        {words.change}
                      </Button>
                      {me ? null : (
                        <Button label={words.removeNamed(user.name)} busy={remove.busy} onClick={() => void ask(user)}>
                          {words.remove}
                        </Button>
                      )}
                    </div>,
                  ],
                };
              })}
            />
          )}
          <p role="status" className={classes["said"]}>
            {said}
          </p>
          <p role="alert" className={ui["fault"]}>
            {fault}
          </p>
          {open === null ? null : (
            <UserDialog
              user={open === "new" ? null : open}
              first={users.length === 0}
              refresh={CHANGED}
              onDone={(name) => {
                setFault("");
                setSaid(words.saved(name));
              }}
              onClose={() => setOpen(null)}
            />
          )}
        </>
      )}
    </Panel>
  );
}
