"""Checks and shares in the database: nothing is changed, the newest counts, and what is read is what was written."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import Engine

from shoal.domain.errors import UnknownIdError
from shoal.domain.interval import Interval
from shoal.market.awards import AwardedQuantity, MarketAward, Settlement
from shoal.market.shadow import Checked, Dispute, Unchecked
from shoal.settle.shares import SharingKey, share_version
from shoal.store.cycles import Cycles
from shoal.store.settlings import Settlings

PLACE = ("big", "sdac", "2025-03-30")
HOURS = [Interval(start_ns=hour, end_ns=hour + 1) for hour in range(3)]
DISPUTE = Dispute(
    product="imbalance",
    kind="imbalance",
    start_ns=0,
    end_ns=1,
    reason="energy",
    amount=-7,
    market_wh=1,
    own_wh=2,
    market_cents_per_mwh=7,
    own_cents_per_mwh=7,
)


def checked(version: int, *, disputes: tuple[Dispute, ...] = ()) -> Checked:
    part = () if disputes else (Unchecked(start_ns=1, end_ns=2, why="no price"),)
    return Checked(
        version=version, award_version=1, market_amount=0, own_amount=7, disputes=disputes, unchecked=part
    )


def test_a_check_is_kept_beside_the_one_before_when_it_differs(engine: Engine) -> None:
    kept = Settlings(engine)
    assert kept.record_check(*PLACE, checked(1, disputes=(DISPUTE,)), known_ns=10)
    assert not kept.record_check(*PLACE, checked(1, disputes=(DISPUTE,)), known_ns=11)
    assert [(one.known_ns, one.checked.version) for one in kept.open_disputes()] == [(10, 1)]
    assert kept.record_check(*PLACE, checked(1), known_ns=12)
    assert kept.open_disputes() == []  # the last check of the version agrees but for what is not known
    assert kept.record_check(*PLACE, checked(1, disputes=(DISPUTE, DISPUTE)), known_ns=13)
    (again,) = kept.open_disputes("big")
    assert (again.known_ns, len(again.checked.disputes)) == (13, 2)
    assert kept.open_disputes("another") == []
    assert kept.record_check(*PLACE, checked(2), known_ns=14)
    assert kept.open_disputes() == []  # the newest version counts
    assert [one.known_ns for one in kept.checks(*PLACE)] == [10, 12, 13, 14]


def test_shares_come_back_with_every_key_in_use(engine: Engine) -> None:
    kept = Settlings(engine)
    assert kept.shares(*PLACE) is None
    first_key, second_key = (
        SharingKey(site_ids=sites, weight_wh=np.array(weights, dtype=np.int64), owner_share_permille=permille)
        for sites, weights, permille in ((("b", "a"), [3, 1], 900), (("a", "c"), [2**40, 1], 1_000))
    )
    first = share_version(dict.fromkeys(HOURS, 101), HOURS, version=1, key=first_key)
    second = share_version(
        dict(zip(HOURS, (101, -5, 101), strict=True)), HOURS[1:2], version=2, key=second_key, previous=first
    )
    third = share_version(
        dict(zip(HOURS, (101, -5, 101), strict=True)), (), version=3, key=second_key, previous=second
    )
    for shares in (first, second, third):
        assert kept.record_shares(*PLACE, shares)
        assert not kept.record_shares(*PLACE, shares)
        found = kept.shares(*PLACE, version=shares.version)
        assert found is not None
        assert (found.version, found.key_of, found.site_ids) == (
            shares.version,
            shares.key_of,
            shares.site_ids,
        )
        assert found.owner_amount.tolist() == shares.owner_amount.tolist()
        assert (found.operator_amount, found.amount) == (shares.operator_amount, shares.amount)
        assert found.keys.keys() == shares.keys.keys()
        for number, key in found.keys.items():
            meant = shares.keys[number]
            assert (key.site_ids, key.owner_share_permille) == (meant.site_ids, meant.owner_share_permille)
            assert key.weight_wh.tolist() == meant.weight_wh.tolist()
    newest = kept.shares(*PLACE)
    assert newest is not None and newest.version == 3 and set(newest.keys) == {1, 2}
    assert kept.shares(*PLACE, version=9) is None


def test_days_and_the_newest_award_are_found(engine: Engine) -> None:
    cycles, kept = Cycles(engine), Settlings(engine)
    assert kept.newest_award(*PLACE) is None
    for day, versions in (("2025-03-30", 11), ("2025-03-28", 1)):
        for version in range(1, versions + 1):
            quantity = AwardedQuantity(
                product="day-ahead", start_ns=0, end_ns=1, power_w=version, price_per_mwh=1.0
            )
            award = MarketAward(
                resource_id="big",
                market_id="sdac",
                settlement_point="BE",
                delivery_date=day,
                bid_id="b",
                version=version,
                published_ns=1,
                quantities=(quantity,),
            )
            cycles.record_award(award, known_ns=version)
    settlement = Settlement(
        resource_id="big",
        market_id="sdac",
        delivery_date="2025-03-29",
        run="initial",
        version=1,
        issued_ns=1,
        currency="EUR",
        lines=(),
        changed=(),
        amount=0,
    )
    cycles.record_settlement(settlement, known_ns=2)
    newest = kept.newest_award(*PLACE)
    assert newest is not None and newest.version == 11
    assert kept.delivery_dates("big", "sdac", from_date="2025-03-29") == ["2025-03-29", "2025-03-30"]
    assert kept.delivery_dates("big", "nem", from_date="") == []


def test_a_note_needs_its_bid(engine: Engine) -> None:
    with pytest.raises(UnknownIdError):
        Cycles(engine).note_bid("nothing", at_ns=1, by="sdac", said="award version 2 corrects 1")
