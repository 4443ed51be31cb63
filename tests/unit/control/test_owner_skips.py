"""What owners left is in no document: neither an event that they sit out, nor one of a program that they have left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.control.desired_book import Entry
from shoal.control.owner_skips import OwnerSkips
from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.orders import Envelope, EventKind, ScheduledEvent
from tests.integration.store.fleets import make_fleet
from tests.unit.control.plants import START_NS

FLEET = make_fleet(4)


class Words:
    """A store that is changed by the test, and may be away."""

    def __init__(self) -> None:
        self.said: dict[str, dict[str, int]] = {}
        self.number = 0
        self.away = False

    def standing(self, *, after_ns: int) -> dict[str, dict[str, int]]:
        return {event: dict(sites) for event, sites in self.said.items()}

    def newest(self) -> int:
        if self.away:
            raise UnavailableError("the database", "it does not answer")
        return self.number


def entry(name: str, *, kind: EventKind = "power", program: str = "peak", may_opt_out: bool = True) -> Entry:
    event = ScheduledEvent(
        event_id=name,
        program=program,
        kind=kind,
        start_ns=START_NS,
        end_ns=START_NS + NS_PER_HOUR,
        may_opt_out=may_opt_out,
    )
    rows = np.arange(4, dtype=np.int64)
    return Entry(key=name, item=event, end_ns=event.end_ns, rows=rows, battery_w=rows * -100)


def skips_of(words: Words, enrolled: NDArray[np.int64] | None = None) -> OwnerSkips:
    return OwnerSkips(FLEET, words, words, enrolled=lambda program: enrolled if program == "storm" else None)


def test_every_stretch_of_a_skipped_event_is_left_and_nothing_else() -> None:
    words = Words()
    skips = skips_of(words)
    words.said = {"e-1": {str(FLEET.site_ids[2]): 7, "gone": 8}}
    assert skips.refresh(START_NS)
    assert not skips.refresh(START_NS), "nothing was said since"
    wanted = {name: entry(name) for name in ("e-1", "e-1-charge", "e-1-return", "e-2", "e-1-2")}
    left = skips.without(wanted)
    found = {name: one.rows.tolist() for name, one in left.items()}
    everybody = [0, 1, 2, 3]
    assert found == {
        "e-1": [0, 1, 3],
        "e-1-charge": [0, 1, 3],
        "e-1-return": [0, 1, 3],
        "e-2": everybody,
        "e-1-2": everybody,
    }
    own_w = left["e-1"].battery_w
    assert own_w is not None
    assert own_w.tolist() == [0, -100, -300], "each keeps its own power"
    assert skips.since_ns("e-1") == {2: 7}
    assert skips.rows("e-2").tolist() == []


def test_program_that_was_left_is_left_at_once_unless_it_may_not_be() -> None:
    skips = skips_of(Words(), np.array([1, 3], dtype=np.int64))
    envelope = Envelope(start_ns=0, end_ns=1, import_limit_w=1, export_limit_w=1)
    limit = Entry(key="limit", item=envelope, end_ns=START_NS + 1, rows=np.arange(4, dtype=np.int64))
    wanted = {
        "storm-1": entry("storm-1", kind="charge", program="storm"),
        "must": entry("must", program="storm", may_opt_out=False),
        "limit": limit,
    }
    left = skips.without(wanted)
    assert left["storm-1"].rows.tolist() == [1, 3]
    assert left["must"] is wanted["must"]
    assert left["limit"] is limit
    nobody = skips_of(Words(), np.empty(0, dtype=np.int64))
    assert "storm-1" not in nobody.without(wanted)


def test_words_that_cannot_be_read_leave_all_as_it_was() -> None:
    words = Words()
    skips = skips_of(words)
    words.said = {"e-1": {str(FLEET.site_ids[0]): 7}}
    skips.refresh(START_NS)
    words.away, words.number, words.said = True, 5, {}
    assert not skips.refresh(START_NS)
    assert skips.rows("e-1").tolist() == [0]
    words.away = False
    assert skips.refresh(START_NS)
    assert skips.rows("e-1").tolist() == []
