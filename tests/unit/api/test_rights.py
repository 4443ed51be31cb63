"""Every route of the application under one table of rights, and every role against every route."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.api.app import create_app
from shoal.api.door.rights import (
    EVERY_RIGHT,
    LOCAL,
    READING,
    RIGHTS_OF,
    RULES,
    Caller,
    may,
    need_of,
    rights_of,
)
from shoal.store.users import ROLES
from tests.unit.api.doors import make_plant

ALLOWED = {
    "/api/state": {"GET": {"viewer", "operator", "trader", "admin"}},
    "/api/commands/stops": {"GET": {"viewer", "operator", "trader", "admin"}, "POST": {"operator"}},
    "/api/alarms/7/ack": {"POST": {"operator"}},
    "/api/sites/home-1/opt-outs/market": {"PUT": {"operator"}, "DELETE": {"operator"}},
    "/api/history/query": {"POST": {"viewer", "operator", "trader", "admin"}},
    "/api/market/manual": {"GET": {"viewer", "operator", "trader", "admin"}, "POST": {"trader"}},
    "/api/home/sites/home-1": {"GET": {"homeowner"}, "PUT": {"homeowner"}},
    "/api/admin/users": {"GET": {"admin"}},
    "/api/admin/users/ada": {"PUT": {"admin"}, "DELETE": {"admin"}},
    "/api/admin/system": {"GET": {"viewer", "operator", "trader", "admin"}, "POST": {"admin"}},
    "/metrics": {"GET": {"viewer", "operator", "trader", "admin"}},
}


@pytest.mark.parametrize("path", ALLOWED)
def test_each_role_may_what_it_is_there_for(path: str) -> None:
    for method, roles in ALLOWED[path].items():
        for role in ROLES:
            caller = Caller(name=role, rights=rights_of([role]))
            assert may(caller, need_of(method, path)) == (role in roles), (role, method)


def test_every_route_is_under_a_rule_that_asks_for_something(tmp_path: Path) -> None:
    app = create_app(make_plant(tmp_path))
    named = [(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods]
    assert len(named) > 50
    free = {path for method, path in named if need_of(method, path) == "nothing"}
    assert free == {"/healthz", "/readyz", "/api/session", "/api/session/password"}
    changing = {(method, path) for method, path in named if method not in READING and path.startswith("/api")}
    for method, path in changing:
        if not path.startswith(("/api/session", "/api/history")):
            assert need_of(method, path) in ("operate", "trade", "administer", "home"), path


def test_prefix_is_a_whole_part_of_the_path() -> None:
    assert need_of("GET", "/api/administration") == "see"
    assert need_of("GET", "/api/admin") == "administer"
    assert need_of("GET", "/api/admin/users/x") == "administer"
    assert need_of("POST", "/") == "never"
    assert need_of("DELETE", "/assets/index.js") == "never"


def test_nobody_in_particular_may_only_what_takes_nothing() -> None:
    assert may(None, "nothing")
    assert not any(may(None, right) for right in EVERY_RIGHT)
    assert not may(LOCAL, "never")


def test_roles_and_rules_speak_of_rights_that_there_are() -> None:
    assert set(RIGHTS_OF) == set(ROLES)
    assert rights_of(["operator", "trader"]) == {"see", "operate", "trade"}
    used = {need for rule in RULES for need in (rule.read, rule.change)}
    assert used - {"nothing", "never"} == EVERY_RIGHT
