"""Taking over: of many that look, exactly one takes a dead holder's slot, and a live one is never taken."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from shoal.bidding.cycle.takeover import LOOK_COUNTS_FRAC, Watch, take_free
from shoal.domain.errors import FencedOutError
from shoal.store.database import migrate, open_database
from shoal.store.slots import Slots

DEAD_AFTER_S = 2.0


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path / 'plant.db'}"
    migrate(url)
    made = open_database(url)
    yield made
    made.dispose()


def watch(holder: str) -> Watch:
    return Watch(holder=holder, dead_after_s=DEAD_AFTER_S)


def test_a_slot_that_nobody_holds_is_taken_by_exactly_one(engine: Engine) -> None:
    slots = Slots(engine)
    gate = threading.Barrier(4)
    won: list[tuple[str, dict[str, str]]] = []

    def take(name: str) -> None:
        gate.wait()
        won.append((name, take_free(slots, watch(name), ["a", "b"], now_s=0.0)))

    threads = [threading.Thread(target=take, args=(f"p{number}",)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    taken = [(slot, name) for name, found in won for slot in found]
    assert sorted(slot for slot, _ in taken) == ["a", "b"]
    assert {slot: held.holder for slot, held in slots.held().items()} == dict(taken)


def test_a_dead_holder_is_taken_over_by_exactly_one_of_two(engine: Engine) -> None:
    slots = Slots(engine)
    assert take_free(slots, watch("dead"), ["a"], now_s=0.0) == {"a": ""}
    first, second = watch("first"), watch("second")
    won: list[str] = []
    now_s = 0.0
    while not won:
        # both see the same standstill before either of them acts
        free = [(one, one.free(slots.held(), ["a"], now_s=now_s)) for one in (first, second)]
        for one, found in free:
            for slot, instead_of in found.items():
                if slots.take(slot, holder=one.holder, instead_of=instead_of):
                    won.append(one.holder)
        now_s += 0.5
        assert now_s < 10.0
    assert won == ["first"] and DEAD_AFTER_S <= now_s - 0.5 < DEAD_AFTER_S + 1.0
    with pytest.raises(FencedOutError):
        slots.beat(["a"], holder="dead")
    slots.beat(["a"], holder="first")


def test_a_live_holder_is_never_taken_whatever_the_clocks_say(engine: Engine) -> None:
    slots = Slots(engine)
    take_free(slots, watch("alive"), ["a"], now_s=1e9)
    skewed = {name: watch(name) for name in ("behind", "ahead")}
    offset_s = {"behind": -1e6, "ahead": 1e6}
    for turn in range(40):
        slots.beat(["a"], holder="alive")
        for name, one in skewed.items():
            assert take_free(slots, one, ["a"], now_s=turn * 0.5 + offset_s[name]) == {}
    assert slots.held()["a"].holder == "alive"


def test_a_watcher_that_could_not_look_does_not_take_the_holder_for_dead(engine: Engine) -> None:
    """The database was away for both: the holder could not beat, and beats again as soon as it is back."""
    slots = Slots(engine)
    take_free(slots, watch("alive"), ["a"], now_s=0.0)
    other = watch("other")
    assert take_free(slots, other, ["a"], now_s=0.0) == {}
    assert take_free(slots, other, ["a"], now_s=0.5) == {}
    assert take_free(slots, other, ["a"], now_s=600.0) == {}  # the first look after ten minutes
    slots.beat(["a"], holder="alive")
    assert take_free(slots, other, ["a"], now_s=600.5) == {}


def test_a_slow_watcher_takes_a_dead_holder_in_the_end(engine: Engine) -> None:
    slots = Slots(engine)
    take_free(slots, watch("dead"), ["a"], now_s=0.0)
    other = watch("other")
    looks = 0
    while not take_free(slots, other, ["a"], now_s=looks * 30.0):
        looks += 1
        assert looks <= 1 / LOOK_COUNTS_FRAC
    assert slots.held()["a"].holder == "other"


def test_what_was_given_back_is_free_at_once(engine: Engine) -> None:
    slots = Slots(engine)
    take_free(slots, watch("one"), ["a", "b"], now_s=0.0)
    slots.release(["a"], holder="one")
    slots.release(["b"], holder="not the holder")
    assert take_free(slots, watch("two"), ["a", "b"], now_s=0.0) == {"a": ""}


def test_who_was_taken_over_keeps_what_is_its_own(engine: Engine) -> None:
    slots = Slots(engine)
    take_free(slots, watch("one"), ["a", "b"], now_s=0.0)
    before = slots.held()
    assert slots.take("a", holder="two", instead_of=before["a"])
    assert not slots.take("a", holder="three", instead_of=before["a"])
    with pytest.raises(FencedOutError):
        slots.beat(["a", "b"], holder="one")
    # a beat of which a part failed says nothing: who was fenced out gives back what it still holds
    assert slots.held()["b"] == before["b"]
