"""The feeders of an order: the groups right above its sites, or higher where they are too many; the limits above them."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.api.dispatch import feeders as dispatch_feeders
from shoal.api.dispatch.feeders import NOWHERE, feeders_of, limit_of
from shoal.control.grid_limits import GridLimits
from shoal.store.limit_records import ConnectionLimit, LimitKind, OperatingEnvelope
from shoal.store.limits import StandingLimits
from tests.unit.api.plants import T0_NS, make_fleet

FLEET = make_fleet()
EVERYBODY = np.arange(3, dtype=np.int64)


class Source:
    """Where limits are kept."""

    def __init__(self, *limits: tuple[LimitKind, str, int | None, int | None]) -> None:
        self._limits = tuple(
            ConnectionLimit(
                kind=kind,
                target=target,
                import_limit_w=taken_w,
                export_limit_w=given_w,
                by="ann",
                at_ns=0,
                reason="",
            )
            for kind, target, taken_w, given_w in limits
        )

    def version(self) -> int:
        return 1

    def standing(self, t_ns: int) -> StandingLimits:
        envelopes: tuple[OperatingEnvelope, ...] = ()
        return StandingLimits(version=1, limits=self._limits, envelopes=envelopes)


def test_feeders_are_right_above_the_sites() -> None:
    found = feeders_of(EVERYBODY, FLEET)
    assert [(one.group_id, one.at.tolist()) for one in found] == [("feeder-1", [0, 1]), ("bess", [2])]
    assert feeders_of(EVERYBODY[:0], FLEET) == []


def test_too_many_feeders_are_shown_by_what_is_above_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch_feeders, "MOST_FEEDERS", 1)
    found = feeders_of(EVERYBODY, FLEET)
    assert [(one.group_id, one.at.tolist()) for one in found] == [("homes", [0, 1]), ("storage", [2])]


def test_sites_under_no_feeder_are_shown_as_such() -> None:
    hierarchy = FLEET.groups[0].hierarchy_id
    alone = make_fleet()
    alone.leaf_group[hierarchy][0] = -1
    found = feeders_of(EVERYBODY, alone)
    first = found[0]
    assert (first.group_id, first.name, first.at.tolist()) == ("", NOWHERE, [0])


def test_tightest_limit_above_a_feeder_counts() -> None:
    grid = GridLimits(FLEET, Source(("group", "homes", 9_000, 4_000), ("group", "feeder-1", 6_000, None)))
    grid.refresh(T0_NS)
    limits = grid.now(T0_NS, T0_NS + 1)
    assert limit_of(1, limits, FLEET, charges=True) == (6.0, "feeder-1")
    assert limit_of(1, limits, FLEET, charges=False) == (4.0, "homes")
    assert limit_of(3, limits, FLEET, charges=True) == (None, "")
