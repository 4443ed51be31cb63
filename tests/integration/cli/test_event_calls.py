"""`shoal event call` and the routes of events over a real database: called by the one, seen by the other, kept, and settled."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from shoal.api.commands.door import CommandDoor
from shoal.api.door.access import Gate
from shoal.api.events.routes import event_routes
from shoal.api.problem import handle_faults
from shoal.cli import event
from shoal.cli.event_settle import delivered_span, settle_called
from shoal.control.event_calls import STATE, kept_of, make_call
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.ids import ResourceId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval, iso
from shoal.domain.telemetry import TELEMETRY
from shoal.programs.program import default_book
from shoal.runtime.settings import load_settings
from shoal.store.database import migrate, open_database
from shoal.store.ledger import Ledger
from shoal.store.order_records import AuditEntry
from shoal.store.orders import Orders
from shoal.store.registry import Registry
from tests.integration.cli.test_command import Door, Shell, bearer
from tests.integration.store.fleets import make_fleet
from tests.unit.store.history_cases import write_history

FLEET = make_fleet(4)
HOUR_NS = time.time_ns() // NS_PER_HOUR * NS_PER_HOUR
WINDOW = Interval(start_ns=HOUR_NS + 4 * NS_PER_HOUR, end_ns=HOUR_NS + 6 * NS_PER_HOUR)
SPAN = ["--from", iso(WINDOW.start_ns), "--to", iso(WINDOW.end_ns)]


class EventShell(Shell):
    """The commands over one database."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.app.add_typer(event.app, name="event")

    def text(self, *arguments: str) -> str:
        line = ["event", *arguments, "--set", f"data_dir={self.directory}"]
        outcome = CliRunner().invoke(self.app, line)
        if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
            raise outcome.exception
        assert outcome.exit_code == 0, outcome.output
        return outcome.stdout


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("registered") / "registry.db"
    migrate(f"sqlite:///{file}")
    engine = open_database(f"sqlite:///{file}")
    Registry(engine).load_fleet(FLEET, valid_from_ns=0)
    engine.dispose()
    return file


@pytest.fixture
def shell(tmp_path: Path, registered: Path) -> EventShell:
    shutil.copy(registered, tmp_path / "registry.db")
    return EventShell(tmp_path)


@pytest.fixture
def ledger(shell: EventShell) -> Iterator[Ledger]:
    engine = open_database(f"sqlite:///{shell.directory / 'registry.db'}")
    yield Ledger(engine)
    engine.dispose()


@pytest.fixture
def door(shell: EventShell, ledger: Ledger) -> Iterator[Door]:
    engine = open_database(f"sqlite:///{shell.directory / 'registry.db'}")
    app = FastAPI()
    commands = CommandDoor(orders=Orders(engine), fleet=FLEET, book=default_book(), now_ns=time.time_ns)
    app.include_router(event_routes(commands, lambda name: kept_of(ledger, name)))
    handle_faults(app)
    app.add_middleware(Gate, token="look", operators={"ann": "a-token"})
    yield Door(app)
    engine.dispose()


def test_event_is_called_changed_shown_and_called_off(shell: EventShell) -> None:
    said = shell.run(
        "call", "--id", "e-1", "--target", "feeder-1=4.5", *SPAN, "--by", "ann", "--price", "2000"
    )
    assert said["spec"]["targets"] == [{"group": "feeder-1", "target_w": 4_500}]
    assert said["spec"]["price_cents_per_mwh"] == 200_000
    assert "feeder-1 4.5 kW" in shell.text("list")
    changed = shell.run("change", "e-1", "--target", "feeder-1=3", "--target", "feeder-2=1", "--by", "bob")
    assert (changed["revision"], changed["scope"]) == (2, {"groups": ["feeder-1", "feeder-2"]})
    assert changed["spec"]["called_ns"] == said["spec"]["called_ns"], "notice was given when it was called"
    assert shell.run("show", "e-1")["phase"] == "not taken up"
    assert shell.run("cancel", "e-1", "--by", "ann")["state"] == "cancelled"
    assert shell.run("list") == []
    assert [one["order_id"] for one in shell.run("list", "--all")] == ["e-1"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["call", "--target", "feeder-1", *SPAN], InvalidInputError),
        (["call", "--target", "nowhere=1", *SPAN], UnknownIdError),
        (["call", "--target", "feeder-1=1", *SPAN, "--measure", "guess"], InvalidInputError),
        (["call", "--target", "feeder-1=1", "--from", SPAN[1], "--to", SPAN[1]], InvalidInputError),
        (["cancel", "nothing"], UnknownIdError),
        (["settle"], InvalidInputError),
        (["settle", "e-1", "--group", "feeder-1"], InvalidInputError),
    ],
)
def test_wrong_words_are_told_what_to_mend(
    shell: EventShell, arguments: list[str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        shell.text(*arguments)


def test_event_is_called_over_the_interface_by_operators_alone(
    shell: EventShell, door: Door, ledger: Ledger
) -> None:
    asked: dict[str, Any] = {
        "event_id": "e-2",
        "targets": [{"group": "vpp", "power_kw": 6.0}],
        "start_ms": WINDOW.start_ns // 1_000_000,
        "end_ms": WINDOW.end_ns // 1_000_000,
        "price_per_mwh": 1_500,
    }
    assert door.post("/api/events", json=asked, headers=bearer("look")).status_code == 403
    made = door.post("/api/events", json=asked, headers=bearer("a-token"))
    assert made.status_code == 200, made.text
    assert made.json()["phase"] == "not taken up"
    told = {"target": 6_000, "asked": 5_000, "expected": 4_800, "low": 4_000, "high": 5_000, "missing": 1_000}
    state = {
        "storm": {},
        "events": {
            "e-2": {
                "phase": "charge",
                "expected": {**{f"{name}_w": power for name, power in told.items()}, "reasons": {"asked": 4}},
            }
        },
    }

    fence = ledger.next_fence("control")
    ledger.save_state(
        ResourceId(STATE), msgspec.json.encode(state), issuer="control", fence=fence, saved_ns=1
    )
    Orders(ledger_engine(shell)).note(
        [AuditEntry(at_ns=5_000_000, by="control", action="leave", subject="e-2", detail="site-00001")]
    )
    shown = door.get("/api/events/e-2", headers=bearer("look")).json()
    assert (shown["phase"], shown["expected"]["missing_kw"], shown["left"]) == (
        "charge",
        1.0,
        {"site-00001": 5},
    )
    assert "5.0 of 6.0 kW asked for" in shell.text("show", "e-2")
    longer = {"revision": 1, "end_ms": asked["end_ms"] + 3_600_000}
    assert door.post("/api/events/e-2/change", json=longer, headers=bearer("a-token")).json()["revision"] == 2
    again = door.post("/api/events/e-2/change", json=longer, headers=bearer("a-token"))
    assert again.status_code == 422, "somebody has changed it meanwhile"
    off = door.post("/api/events/e-2/cancel", json={"reason": "rain"}, headers=bearer("a-token"))
    assert off.json()["state"] == "cancelled"
    assert door.get("/api/events", headers=bearer("look")).json() == []
    assert len(door.get("/api/events?over=true", headers=bearer("look")).json()) == 1
    late = asked | {"event_id": "e-3", "start_ms": 0, "end_ms": 900_000}
    assert door.post("/api/events", json=late, headers=bearer("a-token")).status_code == 422
    assert door.get("/api/events/e-3", headers=bearer("look")).status_code == 404


def test_called_event_is_settled_as_it_was_called(shell: EventShell) -> None:
    orders = Orders(ledger_engine(shell))
    start_ns = 1_612_972_800_000_000_000
    orders.put(
        make_call(
            event_id="e-9",
            program="emergency",
            targets=[("vpp", 2.0)],
            window=Interval(start_ns=start_ns, end_ns=start_ns + NS_PER_HOUR),
            by="ann",
            now_ns=start_ns - 3 * NS_PER_HOUR,
            price_per_mwh=1_000.0,
        )
    )

    minutes = np.arange(-120, 121)
    for row in range(4):
        records = TELEMETRY.empty(len(minutes))
        records["ts_ns"] = start_ns + minutes * NS_PER_MINUTE
        records["seq"] = np.arange(1, len(minutes) + 1)
        records["discharge_wh"] = (minutes + 120) * 10
        write_history(shell.directory / "history", records, np.full(len(minutes), row), records["ts_ns"])
    orders.note(
        [
            AuditEntry(
                at_ns=start_ns + 30 * NS_PER_MINUTE,
                by="control",
                action="leave",
                subject="e-9",
                detail="site-00002",
            )
        ]
    )
    found = shell.run("settle", "e-9")
    assert [line["delivered_wh"] for line in found["lines"]] == [600, 600, 300, 600]
    assert found["amount"] == 2_100 * 100_000, "as the call said, without being told again"
    assert sum(line["amount"] for line in found["lines"]) + found["operator_amount"] == found["amount"]
    assert found["target_wh"] == 2_000
    settings = load_settings(file=None, flags={"data_dir": str(shell.directory)})
    moved = settle_called(settings, FLEET, orders, "e-9", measure="pjm-hour-before")
    assert (moved.amount, {line.detail for line in moved.lines}) == (0, {"window disturbed"})
    off = orders.end("e-9", "cancelled", by="ann", at_ns=start_ns + 50 * NS_PER_MINUTE, reason="over")
    assert delivered_span(off, step_s=900).duration_h == 0.75, "what was called off is owed until then"
    with pytest.raises(UnknownIdError):
        shell.run("settle", "nothing")


def ledger_engine(shell: EventShell) -> Any:
    return open_database(f"sqlite:///{shell.directory / 'registry.db'}")
