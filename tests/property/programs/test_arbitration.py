"""Arbitration for any sites and claims: accounts add up exactly, a lower claim costs a higher one nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.interval import NS_PER_S, Interval
from shoal.programs.arbitration import Arbitration, arbitrate
from shoal.programs.claims import (
    UNLIMITED_WH,
    CapacityClaim,
    Claim,
    HoldClaim,
    PowerClaim,
    SiteAbility,
    Whole,
)
from shoal.programs.program import default_book

BOOK = default_book()
MS_PER_H = 3_600_000
POWERS_W = (0, 1, 2_500, 5_000, 9_999, 10_000_000)
ENERGIES_WH = (0, 1, 417, 5_000, 20_000, 10_000_000)
SEEDS = st.integers(0, 2**32 - 1)
"""Columns come of a seed: one draw each, where a list of draws would take most of the time."""


def column(random: np.random.Generator, count: int, most: int, special: tuple[int, ...]) -> Whole:
    """Return whole numbers up to `most`, half of them from those that are special."""
    plain = random.integers(0, most + 1, count)
    return np.where(random.random(count) < 0.5, random.choice(special, count), plain).astype(np.int64)


@st.composite
def site_abilities(draw: st.DrawFn, most: int = 8) -> SiteAbility:
    count, random = draw(st.integers(1, most)), np.random.default_rng(draw(SEEDS))
    return SiteAbility(
        programs=BOOK.ids,
        charge_w=column(random, count, 10_000, POWERS_W),
        discharge_w=column(random, count, 10_000, POWERS_W),
        charge_wh=column(random, count, 20_000, ENERGIES_WH),
        discharge_wh=column(random, count, 20_000, ENERGIES_WH),
        cycle_left_wh=column(random, count, 20_000, (UNLIMITED_WH,)),
        kept_wh=column(random, count, 20_000, ENERGIES_WH),
        enrolled_bits=column(random, count, 255, (255,)).astype(np.uint64),
        opted_out_bits=column(random, count, 255, (0,)).astype(np.uint64),
        exclusive_index=column(random, count, 7, (-1,)).astype(np.int16),
        known=random.random(count) < 0.9,
        beside_bits=BOOK.beside_bits,
    )


@st.composite
def some_claims(draw: st.DrawFn, sites: int, most: int = 6) -> list[Claim]:
    """Return claims in any order of programs: the order given is the priority."""
    return [draw(one_claim(sites, number)) for number in range(draw(st.integers(1, most)))]


@st.composite
def one_claim(draw: st.DrawFn, sites: int, number: int) -> Claim:
    random = np.random.default_rng(draw(SEEDS))
    claim_id, program = f"claim-{number}", draw(st.sampled_from(BOOK.ids))
    kind = draw(st.sampled_from(["sum", "each", "capacity", "hold"]))
    rows = None
    if random.random() < 0.5:
        rows = random.permutation(sites)[: random.integers(0, sites + 1)]
    count = sites if rows is None else len(rows)
    sustain_s = None if random.random() < 0.5 else float(np.exp(random.uniform(-7.0, 11.0)))
    weight = None if random.random() < 0.5 else np.exp(random.uniform(-13.0, 13.0, count))
    if kind == "sum":
        return PowerClaim(
            claim_id=claim_id,
            program=program,
            power_w=draw(st.integers(-100_000, 100_000)),
            rows=rows,
            sustain_s=sustain_s,
            weight=weight,
        )
    if kind == "each":
        each_w = random.integers(-12_000, 12_001, count)
        return PowerClaim(claim_id=claim_id, program=program, each_w=each_w, rows=rows, sustain_s=sustain_s)
    if kind == "capacity":
        return CapacityClaim(
            claim_id=claim_id,
            program=program,
            up_w=draw(st.integers(0, 50_000)),
            down_w=draw(st.integers(0, 50_000)),
            rows=rows,
            sustain_s=sustain_s,
            weight=weight,
        )
    return HoldClaim(
        claim_id=claim_id,
        program=program,
        rows=np.arange(sites) if rows is None else rows,
        hold_wh=random.integers(0, 30_001, count),
        charge_w=random.integers(0, 12_001, count) * random.integers(0, 2, count),
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[SiteAbility, list[Claim], Interval]:
    sites = draw(site_abilities())
    duration_ns = draw(
        st.sampled_from([1, 4 * NS_PER_S, 300 * NS_PER_S, 3_600 * NS_PER_S, 86_400 * NS_PER_S])
    )
    return sites, draw(some_claims(len(sites))), Interval(start_ns=0, end_ns=duration_ns)


def check_accounts(done: Arbitration) -> None:
    """Every watt and watt-hour is granted to one claim or left, and neither is ever less than nothing."""
    sites = done.sites
    for name in ("charge_w", "discharge_w", "charge_wh", "discharge_wh"):
        granted = sum((getattr(grant, name) for grant in done.grants), np.zeros(len(sites), dtype=np.int64))
        left = getattr(done, f"left_{name}")
        np.testing.assert_array_equal(granted + left, getattr(sites, name))
        assert left.min() >= 0
        assert all(getattr(grant, name).min() >= 0 for grant in done.grants)
    cycled = sum(
        (grant.discharge_wh for grant in done.grants if not isinstance(grant.claim, HoldClaim)),
        np.zeros(len(sites), dtype=np.int64),
    )
    np.testing.assert_array_equal(cycled + done.left_cycle_wh, sites.cycle_left_wh)
    assert done.left_cycle_wh.min() >= 0


def granted_columns(done: Arbitration, number: int) -> tuple[list[int], ...]:
    grant = done.grants[number]
    return tuple(
        getattr(grant, name).tolist() for name in ("charge_w", "discharge_w", "charge_wh", "discharge_wh")
    )


@given(cases())
@settings(max_examples=60, deadline=None)
def test_grants_and_what_is_left_equal_the_ability(case: tuple[SiteAbility, list[Claim], Interval]) -> None:
    sites, claims, interval = case
    check_accounts(arbitrate(claims, sites, interval=interval))


@given(cases())
@settings(max_examples=60, deadline=None)
def test_granted_and_lost_equal_what_was_asked(case: tuple[SiteAbility, list[Claim], Interval]) -> None:
    sites, claims, interval = case
    for grant in arbitrate(claims, sites, interval=interval).grants:
        for direction in ("charge", "discharge"):
            lost_w = sum(loss.power_w for loss in grant.losses if loss.direction == direction)
            asked_w = getattr(grant, f"asked_{direction}_w")
            assert getattr(grant, f"{direction}_w").sum() + lost_w == asked_w
        if isinstance(grant.claim, HoldClaim):
            lost_wh = sum(loss.energy_wh for loss in grant.losses if loss.direction == "hold")
            assert grant.discharge_wh.sum() + lost_wh == grant.claim.hold_wh.sum()
        assert all(loss.power_w > 0 or loss.direction == "hold" for loss in grant.losses)
        assert all(loss.sites > 0 or loss.reason == "limit" for loss in grant.losses)
        assert all((loss.taken_by != "") == (loss.reason == "taken") for loss in grant.losses)


@given(cases(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_lower_claim_changes_nothing_above_it(
    case: tuple[SiteAbility, list[Claim], Interval], data: st.DataObject
) -> None:
    sites, claims, interval = case
    further = data.draw(one_claim(len(sites), len(claims)))
    place = data.draw(st.integers(0, len(claims)))
    with_it = [*claims[:place], further, *claims[place:]]
    before = arbitrate(claims, sites, interval=interval)
    after = arbitrate(with_it, sites, interval=interval)
    for number in range(place):
        assert granted_columns(before, number) == granted_columns(after, number)
        assert before.grants[number].losses == after.grants[number].losses


@given(cases())
@settings(max_examples=60, deadline=None)
def test_the_energy_granted_sustains_the_power_granted(
    case: tuple[SiteAbility, list[Claim], Interval],
) -> None:
    sites, claims, interval = case
    interval_s = interval.duration_s
    for grant in arbitrate(claims, sites, interval=interval).grants:
        sustain_s = interval_s if isinstance(grant.claim, HoldClaim) else grant.claim.sustain_s or interval_s
        needed_wh = grant.charge_w * (sustain_s / 3_600.0)
        assert (grant.charge_wh >= needed_wh * (1 - 1e-9)).all()
        assert (grant.charge_wh <= needed_wh + grant.charge_w / MS_PER_H + 1.001).all()
        if not isinstance(grant.claim, HoldClaim):
            needed_wh = grant.discharge_w * (sustain_s / 3_600.0)
            assert (grant.discharge_wh >= needed_wh * (1 - 1e-9)).all()
            assert (grant.discharge_wh <= needed_wh + grant.discharge_w / MS_PER_H + 1.001).all()


@given(cases())
@settings(max_examples=60, deadline=None)
def test_who_is_shut_out_gives_nothing(case: tuple[SiteAbility, list[Claim], Interval]) -> None:
    sites, claims, interval = case
    for grant in arbitrate(claims, sites, interval=interval).grants:
        place = sites.index_of(grant.claim.program)
        bit = np.uint64(1 << place)
        others = (sites.exclusive_index >= 0) & (sites.exclusive_index != place)
        shut = ((sites.opted_out_bits & bit) != 0) | ((sites.enrolled_bits & bit) == 0) | ~sites.known
        if not BOOK.programs[place].beside_exclusive:
            shut |= others
        given_wh = grant.charge_w + grant.discharge_w + grant.charge_wh + grant.discharge_wh
        assert not given_wh[shut].any()


@given(cases())
@settings(max_examples=60, deadline=None)
def test_no_site_gives_power_both_ways_nor_against_a_reserve_being_filled(
    case: tuple[SiteAbility, list[Claim], Interval],
) -> None:
    sites, claims, interval = case
    charging = np.zeros(len(sites), dtype=np.bool_)
    discharging, filling = charging.copy(), charging.copy()
    for grant in arbitrate(claims, sites, interval=interval).grants:
        if isinstance(grant.claim, CapacityClaim):
            assert not (grant.discharge_w > 0)[filling].any()
            continue
        charging |= grant.charge_w > 0
        discharging |= grant.discharge_w > 0
        if isinstance(grant.claim, HoldClaim):
            filling |= grant.charge_w > 0
    assert not (charging & discharging).any()


@given(cases(), st.data())
@settings(max_examples=60, deadline=None)
def test_asking_for_more_or_being_able_to_do_more_never_yields_less(
    case: tuple[SiteAbility, list[Claim], Interval], data: st.DataObject
) -> None:
    sites, _, interval = case
    power_w = data.draw(st.integers(-100_000, 100_000))
    further_w = data.draw(st.integers(0, 50_000)) * (1 if power_w >= 0 else -1)
    claim = PowerClaim(claim_id="a", program="market", power_w=power_w)
    got_w = abs(int(arbitrate([claim], sites, interval=interval).grants[0].power_w.sum()))
    more = replace(claim, power_w=power_w + further_w)
    assert abs(int(arbitrate([more], sites, interval=interval).grants[0].power_w.sum())) >= got_w
    grown = replace(
        sites,
        discharge_wh=sites.discharge_wh + data.draw(st.integers(0, 20_000)),
        charge_wh=sites.charge_wh + data.draw(st.integers(0, 20_000)),
    )
    assert abs(int(arbitrate([claim], grown, interval=interval).grants[0].power_w.sum())) >= got_w


@given(cases())
@settings(max_examples=60, deadline=None)
def test_a_site_is_explained_to_the_last_watt(case: tuple[SiteAbility, list[Claim], Interval]) -> None:
    sites, claims, interval = case
    done = arbitrate(claims, sites, interval=interval)
    for row in range(len(sites)):
        for share, grant in zip(done.explain_site(row), done.grants, strict=True):
            assert (share.charge_w, share.discharge_w) == (grant.charge_w[row], grant.discharge_w[row])
            claim = grant.claim
            named = claim.rows is None or row in claim.rows
            assert share.asked == named
            if not named or not isinstance(claim, PowerClaim) or claim.each_w is None:
                continue
            place = row if claim.rows is None else claim.rows.tolist().index(row)
            lost_w = sum(loss.power_w for loss in share.kept_from)
            assert share.charge_w + share.discharge_w + lost_w == abs(claim.each_w[place])


@given(cases())
@settings(max_examples=60, deadline=None)
def test_what_is_offered_is_granted_when_it_is_claimed(
    case: tuple[SiteAbility, list[Claim], Interval],
) -> None:
    sites, claims, interval = case
    offer = arbitrate(claims, sites, interval=interval).offerable("market")
    for power_w in (offer.charge_w, -offer.discharge_w):
        last = PowerClaim(claim_id="next", program="market", power_w=power_w)
        done = arbitrate([*claims, last], sites, interval=interval)
        assert done.grants[-1].power_w.sum() == power_w
        assert not done.grants[-1].losses
