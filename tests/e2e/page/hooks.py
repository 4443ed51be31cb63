"""What a story may do to the plant behind the page: `["stop-api"]`, posted as JSON to an address of this machine.

A verb and a role: `stop` kills the process and holds its successor back until `start`, `freeze` lets it stand still
until `thaw`, `kill` leaves the rest to the supervisor. `add-user` and `remove-user` open and close the page's door.
`silence` cuts the first sites of a group off from the plant, or all of them, until `hear`.
`raise-alarms` writes alarms as the alarm desk does: of every feeder, of sites one by one, of parts of the plant.
`reset` undoes what a story left behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import delete

from shoal.domain.alarms import Alarm, AlarmEvent, AlarmKind, Severity
from shoal.domain.errors import ShoalError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId
from shoal.runtime.supervisor import Supervisor
from shoal.store.alarms import AlarmLog
from shoal.store.database import open_database, writing
from shoal.store.schema import ALARM, ALARM_EVENT
from shoal.store.users import Users

WAIT_S = 15.0
BY = "the story"
OWN_NUMBERS = 1_000_000_000
"""From here on alarms are a story's: the desk, which counts from one, goes on below."""
ALARMS_TOGETHER = 500
SITE_KINDS = (
    (AlarmKind.COMMUNICATION_LOSS, Severity.MAJOR),
    (AlarmKind.SUSPECT_STUCK, Severity.WARNING),
    (AlarmKind.SUSPECT_SIGN, Severity.WARNING),
    (AlarmKind.SUSPECT_REGISTER, Severity.WARNING),
    (AlarmKind.SUSPECT_POWER, Severity.WARNING),
    (AlarmKind.CLOCK_FAULT, Severity.NOTICE),
    (AlarmKind.SAMPLES_LOST, Severity.NOTICE),
)
PART_KINDS = (
    (AlarmKind.HISTORY_LAG, Severity.WARNING),
    (AlarmKind.JOURNAL_LAG, Severity.CRITICAL),
    (AlarmKind.SHARD_WITHOUT_OWNER, Severity.CRITICAL),
)


class HookError(Exception):
    """What was asked for cannot be done."""


@dataclass(kw_only=True)
class Hooks:
    """Does things to a plant.

    Args:
        supervisor: Runs its processes.
        open_users: Opens the people who may sign in.
        open_fleet: Reads the sites that there are.
        silenced: Where the simulated sites read who is cut off.
        alarms_url: The database in which alarms are kept.
    """

    supervisor: Supervisor
    open_users: Callable[[], Users]
    open_fleet: Callable[[], Fleet]
    silenced: Path
    alarms_url: str
    _halted: dict[str, int] = field(default_factory=dict)
    _added: set[str] = field(default_factory=set)
    _alarmed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def do(self, what: str, *rest: Any) -> dict[str, Any]:
        """Do one thing and return what there is to say of it.

        Raises:
            HookError: when it cannot be done.
            ShoalError: when the plant refuses.
        """
        with self._lock:
            match what:
                case "add-user":
                    return self._add_user(*rest)
                case "remove-user":
                    return self._remove_user(*rest)
                case "silence":
                    return self._silence(*rest)
                case "hear":
                    return self._hear()
                case "raise-alarms":
                    return self._raise_alarms(*rest)
                case "reset":
                    return self._reset()
            verb, _, role = what.partition("-")
            acts = {
                "kill": self._kill,
                "stop": self._stop,
                "start": self._go_on,
                "freeze": self._freeze,
                "thaw": self._go_on,
            }
            if verb not in acts or role not in {state.role for state in self.supervisor.states()}:
                raise HookError(f"there is no {what}")
            return acts[verb](role)

    def release(self) -> None:
        """Let everything go on that stands still, so that it can end."""
        for role in list(self._halted):
            self._go_on(role)

    def _pid(self, role: str) -> int:
        pid = self._wait(role, lambda pid: pid is not None)
        assert pid is not None
        return pid

    def _wait(self, role: str, wanted: Callable[[int | None], bool]) -> int | None:
        until_s = time.monotonic() + WAIT_S
        while not wanted(pid := self.supervisor.state(role).pid):
            if time.monotonic() > until_s:
                raise HookError(f"{role} did not come to where it should within {WAIT_S:g} s")
            time.sleep(0.002)
        return pid

    def _kill(self, role: str) -> dict[str, Any]:
        pid = self._pid(role)
        os.kill(pid, signal.SIGKILL)
        self._wait(role, lambda now: now != pid)
        return {"role": role, "killed": pid}

    def _stop(self, role: str) -> dict[str, Any]:
        """Kill a role; what the supervisor starts in its place stands still before it has opened anything."""
        said = self._kill(role)
        self._freeze(role)
        return said

    def _freeze(self, role: str) -> dict[str, Any]:
        if role not in self._halted:
            pid = self._pid(role)
            os.kill(pid, signal.SIGSTOP)
            self._halted[role] = pid
        return {"role": role, "standing": self._halted[role]}

    def _go_on(self, role: str) -> dict[str, Any]:
        pid = self._halted.pop(role, None)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        return {"role": role, "going": pid}

    def _add_user(
        self, name: str, password: str, roles: list[str], sites: list[str] | None = None
    ) -> dict[str, Any]:
        self.open_users().put(
            name, roles=roles, sites=sites or (), password=password, by=BY, at_ns=time.time_ns()
        )
        self._added.add(name)
        return {"name": name}

    def _remove_user(self, name: str) -> dict[str, Any]:
        self.open_users().remove(name, by=BY, at_ns=time.time_ns())
        self._added.discard(name)
        return {"name": name}

    def _silence(self, group: str, most: int | None = None) -> dict[str, Any]:
        """Cut sites of a group off, the first of them or all, beside those that are already."""
        fleet = self.open_fleet()
        rows = fleet.rows_in(GroupId(group)).tolist() if GroupId(group) in fleet.group_number else []
        if not rows:
            raise HookError(f"there is no site in {group}")
        held = self.silenced.read_text(encoding="utf-8").split() if self.silenced.exists() else []
        names = sorted({*held, *(str(fleet.site_ids[row]) for row in rows[:most])})
        new = self.silenced.with_suffix(".new")
        new.write_text("\n".join(names), encoding="utf-8")
        new.replace(self.silenced)
        return {"silenced": names}

    def _hear(self) -> dict[str, Any]:
        self.silenced.unlink(missing_ok=True)
        return {}

    def _raise_alarms(self, count: int, now_ms: int) -> dict[str, Any]:
        """Let so many alarms stand that were raised within the last minute before an instant."""
        fleet = self.open_fleet()
        alarms = [_alarm(at, now_ms * 1_000_000, fleet) for at in range(count)]
        log = AlarmLog(open_database(self.alarms_url))
        self._alarmed = True
        for first in range(0, count, ALARMS_TOGETHER):
            some = alarms[first : first + ALARMS_TOGETHER]
            log.record([AlarmEvent(t_ns=one.updated_ns, action="raised", alarm=one) for one in some])
        return {"raised": count}

    def _take_alarms_back(self) -> None:
        """Let it be as if they had never been: later stories show what is over too."""
        with writing(open_database(self.alarms_url)) as connection:
            connection.execute(delete(ALARM_EVENT).where(ALARM_EVENT.c.number >= OWN_NUMBERS))
            connection.execute(delete(ALARM).where(ALARM.c.number >= OWN_NUMBERS))
        self._alarmed = False

    def _reset(self) -> dict[str, Any]:
        self.release()
        self._hear()
        if self._alarmed:
            self._take_alarms_back()
        for name in sorted(self._added):
            self._remove_user(name)
        return {}


def _alarm(at: int, now_ns: int, fleet: Fleet) -> Alarm:
    """Return one of many alarms: the first are of feeders, a fifth of the others of parts, the rest of sites."""
    raised_ns = now_ns - at % 60 * 1_000_000_000
    above = {one.parent_id for one in fleet.groups}
    tree = fleet.groups[0].hierarchy_id
    # as the desk does: of groups that share no site
    feeders = [one for one in fleet.groups if one.hierarchy_id == tree and one.group_id not in above]
    if at < len(feeders):
        feeder = feeders[at]
        sites = len(fleet.rows_in(feeder.group_id))
        return Alarm(
            number=OWN_NUMBERS + at,
            kind=AlarmKind.COMMUNICATION_LOSS,
            severity=Severity.MAJOR,
            scope="group",
            subject=feeder.group_id,
            name=feeder.name,
            hierarchy_id=feeder.hierarchy_id,
            sites=sites,
            of_sites=sites,
            peak_sites=sites,
            raised_ns=raised_ns,
            updated_ns=raised_ns,
        )
    if at % 5 == 0:
        kind, severity = PART_KINDS[at // 5 % len(PART_KINDS)]
        part = f"part-{at}"
        return Alarm(
            number=OWN_NUMBERS + at,
            kind=kind,
            severity=severity,
            scope="part",
            subject=part,
            name=part,
            value=float(at),
            detail="s",
            raised_ns=raised_ns,
            updated_ns=raised_ns,
        )
    kind, severity = SITE_KINDS[at % len(SITE_KINDS)]
    site = f"far-home-{at}"
    return Alarm(
        number=OWN_NUMBERS + at,
        kind=kind,
        severity=severity,
        scope="site",
        subject=site,
        name=site,
        sites=1,
        of_sites=1,
        peak_sites=1,
        examples=[site],
        raised_ns=raised_ns,
        updated_ns=raised_ns,
    )


@contextlib.contextmanager
def served(hooks: Hooks) -> Iterator[str]:
    """Serve the hooks and yield their address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                said = hooks.do(*msgspec.json.decode(body, type=list[Any]))
            except (HookError, ShoalError, TypeError, msgspec.DecodeError) as error:
                self._answer(400, str(error).encode())
            else:
                self._answer(200, msgspec.json.encode(said))

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: the story says what it did."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        hooks.release()
