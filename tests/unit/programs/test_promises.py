"""What owners are promised, and how a fleet's burden evens out: a promise is never broken by rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import NAMEPLATE
from shoal.programs._split import fill_w
from shoal.programs.ability import SiteTerms, ability_of
from shoal.programs.claims import UNLIMITED_WH
from shoal.programs.enrolment import FOREVER_NS, Enrolment, Participation, check_exclusive, spans_of
from shoal.programs.program import Program, ProgramBook
from shoal.programs.promises import OwnerPromises, fair_weight
from tests.unit.programs.sites import ALL_BITS, BOOK

FREE_AND_BOUND = ProgramBook(
    programs=(
        Program(id="utility", name="Utility", kind="power", exclusive=True),
        Program(id="retailer", name="Retailer", kind="power", exclusive=True),
        Program(id="market", name="Market", kind="power"),
        Program(id="home", name="Home", kind="local", beside_exclusive=True, may_opt_out=False),
    )
)


def plates(count: int) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    plate = NAMEPLATE.empty(count)
    plate["charge_limit_kw"] = plate["discharge_limit_kw"] = 5.0
    plate["energy_capacity_kwh"] = 10.0
    plate["reserve_frac"] = 0.2
    plate["charge_efficiency_frac"] = plate["discharge_efficiency_frac"] = 0.9
    return plate


def test_ability_keeps_the_higher_reserve_and_the_cycle_budget() -> None:
    terms = SiteTerms(
        book=BOOK,
        enrolled_bits=np.full(5, ALL_BITS, dtype=np.uint64),
        opted_out_bits=np.zeros(5, dtype=np.uint64),
        promises=OwnerPromises(
            reserve_frac=np.array([0.0, 0.5, 0.1, 0.0, 0.0]),
            cycle_budget_wh=np.array([UNLIMITED_WH, UNLIMITED_WH, 3_000, 1_000, UNLIMITED_WH]),
        ),
    )
    sites = terms.ability(
        nameplate=plates(5),
        soc_frac=np.array([0.5, 0.5, 0.5, 0.1, np.nan]),
        known=np.ones(5, dtype=np.bool_),
        discharged_wh=np.array([9_000, 0, 1_000, 5_000, 0]),
    )
    assert sites.discharge_wh.tolist() == [2_700, 0, 2_700, 0, 0]
    assert sites.kept_wh.tolist() == [1_800, 4_500, 1_800, 900, 0]
    assert sites.charge_wh.tolist() == [5_555, 5_555, 5_555, 10_000, 0]
    assert sites.cycle_left_wh.tolist() == [UNLIMITED_WH, UNLIMITED_WH, 2_000, 0, UNLIMITED_WH]
    assert sites.known.tolist() == [True, True, True, True, False]


@given(
    soc_frac=st.floats(-0.1, 1.1),
    reserve_frac=st.floats(0.0, 1.0),
    capacity_kwh=st.floats(0.1, 5_000.0),
    efficiency_frac=st.floats(0.5, 1.0),
)
@settings(max_examples=200, deadline=None)
def test_what_may_be_drawn_never_reaches_into_the_reserve(
    soc_frac: float, reserve_frac: float, capacity_kwh: float, efficiency_frac: float
) -> None:
    plate = plates(1)
    plate["energy_capacity_kwh"], plate["discharge_efficiency_frac"] = capacity_kwh, efficiency_frac
    plate["reserve_frac"] = 0.0
    sites = ability_of(
        book=BOOK,
        nameplate=plate,
        soc_frac=np.array([soc_frac]),
        known=np.ones(1, dtype=np.bool_),
        enrolled_bits=np.zeros(1, dtype=np.uint64),
        promises=OwnerPromises(
            reserve_frac=np.array([reserve_frac]), cycle_budget_wh=np.array([UNLIMITED_WH])
        ),
    )
    stored_wh = min(max(soc_frac, 0.0), 1.0) * capacity_kwh * 1e3
    after_wh = stored_wh - int(sites.discharge_wh[0]) / efficiency_frac
    assert after_wh >= min(reserve_frac * capacity_kwh * 1e3, stored_wh) - 1e-6
    assert (
        int(sites.charge_wh[0]) * plate["charge_efficiency_frac"][0] + stored_wh <= capacity_kwh * 1e3 + 1e-6
    )


@given(
    used=st.lists(st.integers(0, 100_000), min_size=2, max_size=10),
    capacity=st.lists(st.integers(1_000, 20_000), min_size=10, max_size=10),
)
@settings(max_examples=200, deadline=None)
def test_who_is_ahead_never_gets_further_ahead(used: list[int], capacity: list[int]) -> None:
    used_wh = np.array(used, dtype=np.float64)
    capacity_wh = np.array(capacity[: len(used)], dtype=np.float64)
    share = fair_weight(used_wh, capacity_wh) / capacity_wh
    order = np.argsort(used_wh / capacity_wh, kind="stable")
    assert (np.diff(share[order]) <= 1e-12).all()
    assert share.min() >= 0.25
    assert share.max() <= 2.0


def test_burden_of_a_fleet_evens_out() -> None:
    random = np.random.default_rng(3)
    capacity_wh = random.uniform(5_000, 15_000, 50)
    used_wh = random.uniform(0.0, 10.0, 50) * capacity_wh
    spread = [float(np.ptp(used_wh / capacity_wh))]
    for _ in range(100):
        power_w = fill_w(100_000, np.full(50, 5_000, dtype=np.int64), fair_weight(used_wh, capacity_wh))
        used_wh = used_wh + power_w
        spread.append(float(np.ptp(used_wh / capacity_wh)))
    assert (np.diff(spread) <= 1e-3).all()
    assert spread[-1] < spread[0] / 2


@given(
    target_w=st.integers(0, 30_000),
    room_w=st.lists(st.integers(0, 9_000), min_size=0, max_size=8),
    weight=st.lists(st.floats(1e-6, 1e6), min_size=8, max_size=8),
)
@settings(max_examples=300, deadline=None)
def test_split_is_exact_within_room_and_within_a_watt_of_water_filling(
    target_w: int, room_w: list[int], weight: list[float]
) -> None:
    room = np.array(room_w, dtype=np.int64)
    weights = np.array(weight[: len(room_w)], dtype=np.float64)
    power_w = fill_w(target_w, room, weights)
    assert power_w.sum() == min(target_w, room.sum())
    assert ((power_w >= 0) & (power_w <= room)).all()
    if 0 < power_w.sum() == target_w < room.sum():
        # the level by bisection
        low, high = 0.0, float((room / weights).max())
        for _ in range(200):
            level = 0.5 * (low + high)
            low, high = (level, high) if np.minimum(weights * level, room).sum() < target_w else (low, level)
        real = np.minimum(weights * high, room)
        assert (np.abs(power_w - real) <= 1.0 + 1e-6).all()


def test_promise_out_of_range_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="reserve_frac"):
        OwnerPromises(reserve_frac=np.array([np.nan]), cycle_budget_wh=np.array([0]))
    with pytest.raises(InvalidInputError, match="cycle_budget_wh"):
        OwnerPromises(reserve_frac=np.array([0.5]), cycle_budget_wh=np.array([-1]))
    with pytest.raises(InvalidInputError, match="used_wh"):
        fair_weight(np.array([-1.0]), np.array([1.0]))


def test_exclusive_programs_refuse_each_other_over_one_span() -> None:
    held = [Enrolment(site_id="s", program="utility", start_ns=1_000, end_ns=2_000)]

    def wanted(program: str, start_ns: int, end_ns: int | None, site: str = "s") -> Enrolment:
        return Enrolment(site_id=site, program=program, start_ns=start_ns, end_ns=end_ns)

    for fine in (
        wanted("retailer", 2_000, None),
        wanted("retailer", 0, 1_000),
        wanted("retailer", 0, None, site="other"),
        wanted("market", 0, None),
        wanted("utility", 0, None),
    ):
        check_exclusive(FREE_AND_BOUND, held, fine)
    with pytest.raises(InvalidInputError, match=r"enrolment of s: 'retailer' .* or begin at 1970"):
        check_exclusive(FREE_AND_BOUND, held, wanted("retailer", 1_999, None))
    endless = [Enrolment(site_id="s", program="utility", start_ns=1_000)]
    with pytest.raises(InvalidInputError, match=r"with no end: withdraw it there first$"):
        check_exclusive(FREE_AND_BOUND, endless, wanted("retailer", 5_000, 6_000))


def test_eligible_follows_dates_exclusivity_and_leaving() -> None:
    row_of = {"a": 0, "b": 1, "c": 2}
    enrolled = [
        Enrolment(site_id="a", program="market", start_ns=0),
        Enrolment(site_id="b", program="market", start_ns=100, end_ns=200),
        Enrolment(site_id="c", program="market", start_ns=0),
        Enrolment(site_id="c", program="utility", start_ns=150),
        Enrolment(site_id="c", program="home", start_ns=0),
        Enrolment(site_id="gone", program="market", start_ns=0),
    ]
    left = [Enrolment(site_id="a", program="market", start_ns=50, end_ns=60)]
    left.append(Enrolment(site_id="c", program="home", start_ns=0))
    part = Participation(
        book=FREE_AND_BOUND,
        sites=3,
        enrolled=spans_of(FREE_AND_BOUND, row_of, enrolled),
        opted_out=spans_of(FREE_AND_BOUND, row_of, left),
    )
    rows = np.array([2, 0, 1])
    said = {t_ns: part.eligible(rows, "market", t_ns).tolist() for t_ns in (0, 50, 60, 100, 150, 200)}
    assert said == {
        0: [True, True, False],
        50: [True, False, False],
        60: [True, True, False],
        100: [True, True, True],
        150: [False, True, True],
        200: [False, True, False],
    }
    # beside another's exclusivity, and not to be left
    assert part.eligible(np.array([2]), "home", 160).tolist() == [True]
    assert part.opted_out_bits(0).tolist() == [0, 0, 0]
    assert part.enrolled.end_ns.max() == FOREVER_NS
