"""Arbitration in single cases that can be reckoned by hand, with the words for who lost what to whom."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_MINUTE, Interval
from shoal.programs.arbitration import arbitrate
from shoal.programs.claims import CapacityClaim, Claim, HoldClaim, PowerClaim, SiteAbility, Whole
from shoal.programs.explain import grant_sentence, loss_sentence, share_sentence
from tests.unit.programs.sites import BOOK, HOUR, plain_sites

BIT = {name: 1 << place for place, name in enumerate(BOOK.ids)}


def whole(*values: int) -> Whole:
    return np.array(values, dtype=np.int64)


def test_market_alone_gets_what_the_sites_can_do() -> None:
    done = arbitrate(
        [PowerClaim(claim_id="m", program="market", power_w=-7_001)], plain_sites(2), interval=HOUR
    )
    assert done.grants[0].power_w.tolist() == [-3_500, -3_501]
    assert done.grants[0].discharge_wh.tolist() == [3_500, 3_501]
    assert done.left_discharge_w.tolist() == [1_500, 1_499]
    assert done.losses == ()


def test_shortfall_is_put_down_to_each_reason() -> None:
    sites = plain_sites(
        6,
        known=[True, False, True, True, True, True],
        opted_out_bits=[0, 0, BIT["market"], 0, 0, 0],
        cycle_left_wh=[10**9, 10**9, 10**9, 1_000, 10**9, 10**9],
        exclusive_index=[-1, -1, -1, -1, BOOK.position("peak"), -1],
        discharge_wh=[6_000, 6_000, 6_000, 6_000, 6_000, 500],
    )
    done = arbitrate([PowerClaim(claim_id="m", program="market", power_w=-40_000)], sites, interval=HOUR)
    assert done.grants[0].discharge_w.tolist() == [5_000, 0, 0, 1_000, 0, 500]
    lost = {loss.reason: (loss.power_w, loss.energy_wh, loss.sites) for loss in done.losses}
    assert lost == {
        "opted_out": (5_000, 5_000, 1),
        "exclusive": (5_000, 5_000, 1),
        "silent": (5_000, 5_000, 1),
        "cycle_budget": (4_000, 4_000, 1),
        "reserve": (2_000, 2_000, 1),
        "no_energy": (2_500, 2_500, 1),
        "limit": (10_000, 10_000, 0),
    }


def test_storm_takes_before_the_market_and_charges_above_the_reserve() -> None:
    rows = whole(0)
    storm = HoldClaim(
        claim_id="alert", program="storm", rows=rows, hold_wh=whole(5_000), charge_w=whole(2_000)
    )
    market = PowerClaim(claim_id="m", program="market", power_w=-10_000)
    done = arbitrate(BOOK.ordered([market, storm]), plain_sites(2), interval=HOUR)
    assert done.grants[0].charge_w.tolist() == [2_000, 0]
    assert done.grants[0].discharge_wh.tolist() == [5_000, 0]
    # a site that charges for the storm gives nothing, although 1 kWh of it is nobody's
    assert done.grants[1].discharge_w.tolist() == [0, 5_000]
    (loss,) = done.losses
    assert (loss.reason, loss.taken_by, loss.power_w, loss.sites) == ("taken", "alert", 5_000, 1)
    assert loss_sentence(loss) == "5 kW of discharge at 1 site: alert goes first"


def test_site_that_charges_for_a_reserve_keeps_no_capacity_to_discharge() -> None:
    storm = HoldClaim(
        claim_id="alert", program="storm", rows=whole(0), hold_wh=whole(0), charge_w=whole(2_000)
    )
    ready = CapacityClaim(claim_id="r", program="regulation", up_w=9_000, down_w=9_000)
    done = arbitrate([storm, ready], plain_sites(2), interval=HOUR)
    assert done.grants[1].discharge_w.tolist() == [0, 5_000]
    assert done.grants[1].charge_w.tolist() == [2_000, 4_000]
    assert done.offerable("regulation", capacity=True).discharge_w == 0
    # of the 3 kW of charge that are missing, alert stands for 3 kW and a battery nearly full for 1 kW
    assert [(loss.direction, loss.reason, loss.taken_by, loss.power_w) for loss in done.losses] == [
        ("discharge", "taken", "alert", 4_000),
        ("charge", "taken", "alert", 2_250),
        ("charge", "no_energy", "", 750),
    ]


def test_those_who_go_first_answer_for_a_loss_first() -> None:
    sites = plain_sites(1, discharge_wh=[60_000])
    claims: list[Claim] = [
        PowerClaim(claim_id=name, program=name, each_w=whole(-power_w))
        for name, power_w in (("emergency", 2_500), ("market", 2_000), ("peak", 3_000))
    ]
    done = arbitrate(claims, sites, interval=HOUR)
    assert done.grants[2].discharge_w.tolist() == [500]
    assert [(loss.taken_by, loss.power_w) for loss in done.losses] == [("emergency", 2_500)]
    wanting = PowerClaim(claim_id="peak", program="peak", each_w=whole(-5_000))
    more = arbitrate([*claims[:2], wanting], sites, interval=HOUR)
    assert [(loss.taken_by, loss.power_w) for loss in more.losses] == [
        ("emergency", 2_500),
        ("market", 2_000),
    ]


def test_hold_without_charging_leaves_what_is_above_it() -> None:
    storm = HoldClaim(claim_id="s", program="storm", rows=whole(0), hold_wh=whole(5_000), charge_w=whole(0))
    market = PowerClaim(claim_id="m", program="market", power_w=-5_000)
    done = arbitrate([storm, market], plain_sites(1), interval=HOUR)
    assert done.grants[1].discharge_wh.tolist() == [1_000]
    assert done.left_discharge_wh.tolist() == [0]


def test_hold_of_an_owner_who_left_is_nothing() -> None:
    sites = plain_sites(1, opted_out_bits=[BIT["storm"]])
    storm = HoldClaim(
        claim_id="s", program="storm", rows=whole(0), hold_wh=whole(5_000), charge_w=whole(1_000)
    )
    done = arbitrate([storm], sites, interval=HOUR)
    assert not (done.grants[0].charge_w + done.grants[0].discharge_wh).any()
    assert {loss.reason for loss in done.losses} == {"opted_out"}


def test_capacity_needs_power_and_the_energy_to_sustain_it() -> None:
    claim = CapacityClaim(claim_id="r", program="regulation", up_w=100_000, down_w=100_000, sustain_s=7_200.0)
    done = arbitrate([claim], plain_sites(1), interval=Interval(start_ns=0, end_ns=5 * NS_PER_MINUTE))
    # 6 kWh last two hours at 3 kW, room for 4 kWh at 2 kW
    assert (done.grants[0].discharge_w.tolist(), done.grants[0].charge_w.tolist()) == ([3_000], [2_000])
    assert (done.left_discharge_wh.tolist(), done.left_charge_wh.tolist()) == ([0], [0])


def test_capacity_comes_on_top_of_power_the_other_way() -> None:
    market = PowerClaim(claim_id="m", program="market", power_w=2_000)
    up = CapacityClaim(claim_id="r", program="regulation", up_w=5_000, sustain_s=3_600.0)
    done = arbitrate([market, up], plain_sites(1), interval=HOUR)
    assert (done.grants[0].charge_w.tolist(), done.grants[1].discharge_w.tolist()) == ([2_000], [5_000])


def test_no_site_serves_two_programs_against_each_other() -> None:
    market = PowerClaim(claim_id="m", program="market", power_w=-1_000, rows=whole(0))
    tariff = PowerClaim(claim_id="t", program="tariff", each_w=whole(3_000, 3_000))
    done = arbitrate([market, tariff], plain_sites(2), interval=HOUR)
    assert done.grants[1].power_w.tolist() == [0, 3_000]
    (loss,) = done.losses
    assert (loss.reason, loss.taken_by, loss.power_w) == ("taken", "m", 3_000)


def test_program_with_a_site_for_itself_is_pierced_only_where_the_book_says() -> None:
    sites = plain_sites(1, exclusive_index=[BOOK.position("peak")])
    claims: list[Claim] = [
        PowerClaim(claim_id=name, program=name, power_w=-100)
        for name in ("emergency", "market", "peak", "self-consumption")
    ]
    done = arbitrate(claims, sites, interval=HOUR)
    assert [int(grant.discharge_w[0]) for grant in done.grants] == [100, 0, 100, 100]
    offered = {name: done.offerable(name).sites for name in ("market", "peak", "self-consumption")}
    assert offered == {"market": 0, "peak": 1, "self-consumption": 1}


def test_weight_shares_a_sum_out() -> None:
    claim = PowerClaim(claim_id="m", program="market", power_w=4_000, weight=np.array([3.0, 1.0]))
    assert arbitrate([claim], plain_sites(2), interval=HOUR).grants[0].charge_w.tolist() == [3_000, 1_000]


def test_callers_split_may_leave_something_to_a_feeders_limit() -> None:
    def feeder(claim: PowerClaim, rows: Whole, low_w: Whole, high_w: Whole) -> Whole:
        assert rows.tolist() == [0, 1]
        assert low_w.tolist() == [-5_000, -5_000]
        assert high_w.tolist() == [0, 0]
        return whole(-1_000, -500)

    claim = PowerClaim(claim_id="m", program="market", power_w=-4_000)
    done = arbitrate([claim], plain_sites(2), interval=HOUR, split=feeder)
    assert done.grants[0].power_w.tolist() == [-1_000, -500]
    (loss,) = done.losses
    assert (loss.reason, loss.power_w) == ("limit", 2_500)


@pytest.mark.parametrize("wrong", [(-6_000, 0), (1, 0), (-3_000, -3_000), (-1_000,)])
def test_split_beyond_what_it_was_given_is_refused(wrong: tuple[int, ...]) -> None:
    claim = PowerClaim(claim_id="m", program="market", power_w=-4_000)
    with pytest.raises(InvalidInputError, match="split of m: "):
        arbitrate([claim], plain_sites(2), interval=HOUR, split=lambda *_: whole(*wrong))


def test_offer_is_what_is_left_to_a_program() -> None:
    sites = plain_sites(3, opted_out_bits=[0, BIT["market"], 0], cycle_left_wh=[10**9, 10**9, 2_000])
    done = arbitrate(
        [PowerClaim(claim_id="p", program="emergency", power_w=-1_000, rows=whole(0))], sites, interval=HOUR
    )
    offer = done.offerable("market")
    assert (offer.discharge_w, offer.discharge_wh) == (4_000 + 2_000, 5_000 + 2_000)
    assert (offer.charge_w, offer.charge_wh, offer.sites) == (4_000, 4_000, 2)
    ready = done.offerable("market", capacity=True, sustain_s=7_200.0)
    assert (ready.discharge_w, ready.charge_w) == (2_500 + 1_000, 2_000 + 2_000)
    assert done.offerable("market", rows=whole(1)).sites == 0


def test_words_say_who_got_what_and_why_not_more() -> None:
    storm = HoldClaim(
        claim_id="alert-7", program="storm", rows=whole(0), hold_wh=whole(9_000), charge_w=whole(2_000)
    )
    market = PowerClaim(claim_id="vpp", program="market", power_w=-9_500, rows=whole(0, 1))
    done = arbitrate([storm, market], plain_sites(2), interval=HOUR)
    assert grant_sentence(done.grants[0]) == (
        "alert-7 (storm) gets 2 kW of the 2 kW of charge it asked for and 6 kWh of the 9 kWh it wants to hold. "
        "Missing: 3 kWh to hold at 1 site: the battery does not hold so much."
    )
    assert grant_sentence(done.grants[1]) == (
        "vpp (market) gets 5 kW of the 9.5 kW of discharge it asked for. "
        "Missing: 4.5 kW of discharge at 1 site: alert-7 goes first."
    )
    assert [share_sentence(share) for share in done.explain_site(0)] == [
        "alert-7 (storm) gets 2 kW of charge and 6 kWh to hold. Not more: 3 kWh to hold: the battery does not hold "
        "so much.",
        "vpp (market) gets nothing. Not more: 5 kW of discharge: alert-7 goes first.",
    ]
    assert share_sentence(done.explain_site(1)[0]) == "alert-7 (storm) does not ask this site."


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        (PowerClaim(claim_id="a", program="cake"), "claim.program: 'cake'"),
        (PowerClaim(claim_id="a", program="market", rows=whole(0, 0)), "rows of a: .* name each row once"),
        (PowerClaim(claim_id="a", program="market", rows=whole(2)), "rows of a: .* give rows from 0 to 1"),
        (PowerClaim(claim_id="a", program="market", power_w=1, sustain_s=0.0), "sustain_s of a"),
        (PowerClaim(claim_id="a", program="market", power_w=1, sustain_s=float("nan")), "sustain_s of a"),
        (PowerClaim(claim_id="a", program="market", each_w=whole(1)), "each_w of a: .* give 2 whole numbers"),
        (PowerClaim(claim_id="a", program="market", power_w=1, weight=np.array([1.0, 0.0])), "weight of a"),
        (CapacityClaim(claim_id="a", program="regulation", up_w=-1), "up_w of a: -1 .* from 0"),
        (
            HoldClaim(claim_id="a", program="storm", rows=whole(0), hold_wh=whole(-1), charge_w=whole(0)),
            "hold_wh of a",
        ),
    ],
)
def test_malformed_claim_names_what_is_wrong(claim: Claim, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        arbitrate([claim], plain_sites(2), interval=HOUR)


def test_two_claims_of_one_name_are_refused() -> None:
    claims = [PowerClaim(claim_id="a", program="market"), PowerClaim(claim_id="a", program="peak")]
    with pytest.raises(InvalidInputError, match="claim_id: 'a' cannot be used; name each claim once"):
        arbitrate(claims, plain_sites(1), interval=HOUR)


@pytest.mark.parametrize(
    "columns", [{"charge_w": [-1]}, {"discharge_wh": [10**10 + 1]}, {"known": [True, True]}]
)
def test_malformed_ability_names_its_column(columns: dict[str, list[int]]) -> None:
    (name,) = columns
    with pytest.raises(InvalidInputError, match=f"sites.{name}"):
        plain_sites(1, **columns)


def test_nobody_asks_nobody() -> None:
    none: SiteAbility = plain_sites(0)
    done = arbitrate([PowerClaim(claim_id="m", program="market", power_w=5)], none, interval=HOUR)
    assert [(loss.reason, loss.power_w) for loss in done.losses] == [("limit", 5)]
    assert arbitrate([], plain_sites(1), interval=HOUR).grants == ()
