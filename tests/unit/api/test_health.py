"""The health of the roles, read from the supervisor's file."""

from __future__ import annotations

import json
from pathlib import Path

from shoal.api.health import SILENT_AFTER_S, RoleFile


def test_health_without_a_file_is_this_role_alone(tmp_path: Path) -> None:
    health = RoleFile(tmp_path / "roles.json", since_ms=7)()
    assert [(one.role, one.status, one.since_ms) for one in health] == [("api", "up", 7)]


def test_health_reads_every_role_and_takes_an_unknown_status_for_down(tmp_path: Path) -> None:
    path = tmp_path / "roles.json"
    entries = [
        {"role": "fabric", "status": "ready", "restarts": 2, "since_ms": 5},
        {"role": "control", "status": "backoff", "restarts": 1, "since_ms": None},
        {"role": "bidding", "status": "crash_loop"},
    ]
    path.write_text(json.dumps(entries))
    health = RoleFile(path, since_ms=0)()
    assert [(one.role, one.status, one.restarts) for one in health] == [
        ("fabric", "up", 2),
        ("control", "starting", 1),
        ("bidding", "down", 0),
    ]


def test_health_of_a_damaged_file_is_this_role_alone(tmp_path: Path) -> None:
    path = tmp_path / "roles.json"
    path.write_text('[{"role": "fab')
    assert [one.role for one in RoleFile(path, since_ms=0)()] == ["api"]


def test_long_silence_is_shown_as_a_part_that_is_down_until_it_ends(tmp_path: Path) -> None:
    ages = iter([None, 1.0, SILENT_AFTER_S + 10, SILENT_AFTER_S + 12, 0.5])
    health = RoleFile(tmp_path / "none", message_age_s=lambda: next(ages), since_ms=0)
    seen = [health() for _ in range(5)]
    assert [len(one) for one in seen] == [1, 1, 2, 2, 1]
    assert seen[2][1].status == "down"
    assert seen[2] == seen[3]  # the same silence keeps its beginning
