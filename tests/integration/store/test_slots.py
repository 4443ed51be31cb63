"""Slots of bidders on both databases: one holder whatever happens at once, and a count that only its holder moves."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from shoal.bidding.cycle.takeover import Watch, take_free
from shoal.domain.errors import FencedOutError
from shoal.store.slots import Held, Slots

TAKERS = 8


@pytest.fixture
def slots(tables: Engine) -> Slots:
    return Slots(tables)


def test_free_slot_is_taken_once_of_many_at_once(slots: Slots) -> None:
    barrier = threading.Barrier(TAKERS)

    def take(number: int) -> bool:
        barrier.wait(30.0)
        return slots.take("big", holder=f"bidder-{number}", instead_of=None)

    with ThreadPoolExecutor(TAKERS) as pool:
        won = list(pool.map(take, range(TAKERS)))
    assert sum(won) == 1
    assert slots.held() == {"big": Held(holder=f"bidder-{won.index(True)}", beat=0)}


def test_dead_holders_slot_is_taken_over_once_of_many_at_once(slots: Slots) -> None:
    assert slots.take("big", holder="dead", instead_of=None)
    seen = slots.held()["big"]
    barrier = threading.Barrier(TAKERS)

    def take(number: int) -> bool:
        barrier.wait(30.0)
        return slots.take("big", holder=f"bidder-{number}", instead_of=seen)

    with ThreadPoolExecutor(TAKERS) as pool:
        won = list(pool.map(take, range(TAKERS)))
    assert sum(won) == 1
    assert slots.held()["big"] == Held(holder=f"bidder-{won.index(True)}", beat=1)


def test_holder_that_beat_meanwhile_keeps_its_slot(slots: Slots) -> None:
    slots.take("big", holder="slow", instead_of=None)
    seen = slots.held()["big"]
    slots.beat(["big"], holder="slow")
    assert not slots.take("big", holder="other", instead_of=seen)
    assert slots.held()["big"] == Held(holder="slow", beat=1)


def test_beat_of_one_that_was_replaced_says_so_and_moves_nothing(slots: Slots) -> None:
    for name in ("a", "b"):
        slots.take(name, holder="slow", instead_of=None)
    slots.take("b", holder="other", instead_of=slots.held()["b"])
    before = slots.held()
    with pytest.raises(FencedOutError):
        slots.beat(["a", "b"], holder="slow")
    assert slots.held() == before


def test_release_gives_up_ones_own_only(slots: Slots) -> None:
    slots.take("a", holder="one", instead_of=None)
    slots.take("b", holder="other", instead_of=None)
    slots.release(["a", "b"], holder="one")
    assert set(slots.held()) == {"b"}
    assert slots.take("a", holder="third", instead_of=None)


def test_watcher_takes_what_stands_still_for_long_enough(slots: Slots) -> None:
    slots.take("still", holder="dead", instead_of=None)
    slots.take("lively", holder="alive", instead_of=None)
    watch = Watch(holder="watcher", dead_after_s=2.0)
    won: dict[str, str] = {}
    for step in range(12):
        slots.beat(["lively"], holder="alive")
        won |= take_free(slots, watch, ["still", "lively", "free"], now_s=0.5 * step)
    assert won == {"free": "", "still": "dead"}
    assert {name: held.holder for name, held in slots.held().items()} == {
        "still": "watcher",
        "lively": "alive",
        "free": "watcher",
    }
