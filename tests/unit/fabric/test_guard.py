"""The guard's memory: rates from one answer of a server to the next, strikes in a row, gateways by their sites."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.fabric.guard import GuardLimits, Watch

START = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = GuardLimits(messages_per_s=20.0, bytes_per_s=10_000.0, strikes=2)


def answer(at_s: float, *connections: tuple[int, str, int, int], server: str = "N1") -> bytes:
    """Return a server's answer: connection, user, messages and bytes so far; all began at 0 s."""
    listed: list[dict[str, Any]] = [
        {
            "cid": cid,
            "start": START,
            "in_msgs": messages,
            "in_bytes": size,
            "authorized_user": user,
            "kind": "Client",
        }
        for cid, user, messages, size in connections
    ]
    data = {"server_id": server, "now": START + timedelta(seconds=at_s), "connections": listed}
    return msgspec.json.encode({"server": {"id": server}, "data": data})


def test_watch_names_who_is_beyond_the_limit_several_times_in_a_row() -> None:
    watch = Watch(LIMITS)
    assert watch.look(answer(3, (1, "loud", 300, 100), (2, "quiet", 30, 100))) == []
    (offender,) = watch.look(answer(6, (1, "loud", 600, 100), (2, "quiet", 80, 100)))
    assert (offender.server_id, offender.cid, offender.device) == ("N1", 1, "loud")
    assert offender.messages_per_s == pytest.approx(100.0)
    assert (watch.strikes_total, watch.connections_seen) == (2, 2)


def test_watch_forgives_a_burst() -> None:
    watch = Watch(LIMITS)
    for at_s, messages in ((1, 100), (4, 110), (7, 310), (10, 320), (13, 520)):
        assert watch.look(answer(at_s, (1, "device", messages, 0))) == []
    assert watch.strikes_total == 3


def test_watch_judges_the_rate_and_not_what_a_long_life_has_added_up() -> None:
    watch = Watch(LIMITS)
    for day in range(1, 5):
        assert watch.look(answer(86_400.0 * day, (1, "old", 1_000_000 * day, 1_000_000 * day))) == []
    assert watch.strikes_total == 0


def test_watch_counts_bytes_too() -> None:
    watch = Watch(LIMITS)
    assert watch.look(answer(1, (1, "fat", 1, 20_000))) == []
    assert [one.device for one in watch.look(answer(2, (1, "fat", 2, 40_000)))] == ["fat"]


def test_watch_lets_a_gateway_talk_for_each_of_its_sites() -> None:
    watch = Watch(LIMITS, sites_of=lambda device: {"gateway": 50}.get(device, 1))
    for at_s in (1, 2, 3):
        told = watch.look(answer(at_s, (1, "gateway", 900 * at_s, 0), (2, "home", 900 * at_s, 0)))
        assert [one.device for one in told] == ["home"] * (at_s > 1)


def test_watch_spares_the_plants_own_and_tells_servers_apart() -> None:
    watch = Watch(LIMITS, spared=["UROLE"])
    for at_s in (1, 2):
        loud = (1, "UROLE", 9_000 * at_s, 0), (2, "", 9_000 * at_s, 0)
        assert watch.look(answer(at_s, *loud)) == []
    watch.look(answer(1, (7, "one", 100, 0), server="N1"))
    assert watch.look(answer(1, (7, "other", 100, 0), server="N2")) == []


def test_watch_waits_for_a_span_that_says_something() -> None:
    watch = Watch(LIMITS)
    for at_s in (0.01, 0.05, 0.1):
        assert watch.look(answer(at_s, (1, "new", 24, 0))) == []
    assert watch.strikes_total == 0


def test_watch_is_bounded() -> None:
    watch = Watch(LIMITS)
    for first in range(0, 40_000, 1_000):
        watch.look(answer(5, *((cid, "x", 0, 0) for cid in range(first, first + 1_000))))
    assert len(watch._seen) == 16_384


def test_watch_refuses_what_is_no_answer() -> None:
    with pytest.raises(msgspec.MsgspecError):
        Watch(LIMITS).look(b'{"data": 1}')


@pytest.mark.parametrize("name", ["messages_per_s", "bytes_per_s", "every_s", "strikes", "cut_off_s"])
def test_limits_must_be_positive(name: str) -> None:
    with pytest.raises(InvalidInputError, match=name):
        GuardLimits(**{name: 0})
