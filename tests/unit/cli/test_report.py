"""The report of a run: each figure against a small run reckoned by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from shoal.cli.report import Run, make_report
from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.domain.telemetry import TELEMETRY
from shoal.market.ercot import ERCOT_DAY_AHEAD as MARKET
from shoal.market.types import Award, AwardedInterval
from shoal.runtime.settings import Settings
from shoal.simulate.fleet import BESS, VPP, plan_fleet
from shoal.simulate.prices import prices_over
from tests.unit.bidding.plans import DAY
from tests.unit.store.history_cases import write_history

FLEET = plan_fleet(4, 1)
HOURS = MARKET.delivery_intervals(DAY)
SPAN = Interval(start_ns=HOURS[0].start_ns, end_ns=HOURS[-1].end_ns)


def award(resource_id: str, energy_wh: dict[int, int], price: float = 40.0) -> Award:
    return Award(
        resource_id=resource_id,
        market_id="ercot-da",
        settlement_point="HB_NORTH",
        delivery_date=DAY.isoformat(),
        bid_id="b",
        version=1,
        published_ns=0,
        intervals=tuple(
            AwardedInterval(
                start_ns=hour.start_ns,
                end_ns=hour.end_ns,
                energy_wh=energy_wh.get(number, 0),
                price_per_mwh=price,
            )
            for number, hour in enumerate(HOURS)
        ),
    )


def meters(energy_wh: dict[int, int], usable_wh: int = 5_000) -> list[list[int]]:
    """Return hourly readings of a resource that moved so much in each hour."""
    net_wh = np.concatenate([[0], np.cumsum([energy_wh.get(number, 0) for number in range(24)])])
    return [[SPAN.start_ns + n * NS_PER_HOUR, int(wh), usable_wh] for n, wh in enumerate(net_wh)]


def statement(resource_id: str, *, net: int, delivered_wh: int, owners: int = 0) -> dict[str, Any]:
    return {
        "resource_id": resource_id,
        "delivery_date": DAY.isoformat(),
        "version": 1,
        "net_amount": net,
        "shares_amount": owners,
        "award_wh": 0,
        "delivered_wh": delivered_wh,
    }


def accounts(**changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the accounts of a run in which all went well: the VPP sold 2 kWh, the battery bought 3 MWh."""
    plain: dict[str, dict[str, Any]] = {
        "homes": {
            "created": 6,
            "meters": {VPP: meters({5: -2_000}), BESS: meters({2: 3_000_000})},
            "residual_wh": 0,
            "moved_wh": 12_000,
            "stored_balance_error_kwh": 0.0,
            "lease_violations": 0,
            "reserve_violations": 0,
            "limit_violations": 0,
            "examples": ["a", "b"],
            "statistics": {"created": 6},
        },
        "market": {
            "awards": [
                msgspec.to_builtins(award(VPP, {5: -2_000})),
                msgspec.to_builtins(award(BESS, {2: 3_000_000}, price=20.0)),
            ],
            "bids_received": 2,
            "bids_accepted": 2,
            "bids_duplicate": 0,
            "gates_passed": 2,
            "gates_missed": 0,
        },
        "telemetry": {"duplicates": 3, "quarantined": 1, "coverage_mean": 0.98765432},
        "bidding": {
            "rungs": {"fresh": 2},
            "statements": [
                statement(VPP, net=2_000 * 4_000, delivered_wh=-2_000, owners=6_400_000),
                statement(BESS, net=-6 * 10**9, delivered_wh=3_000_000, owners=-6 * 10**9),
            ],
            "split_error": 0,
            "statistics": {"bids_placed": 2},
        },
    }
    for name, change in changes.items():
        plain[name] = {**plain[name], **change}
    return plain


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a run whose history holds six samples, one of them twice."""
    records = TELEMETRY.empty(7)
    records["ts_ns"] = SPAN.start_ns
    records["seq"] = [1, 2, 3, 4, 5, 6, 6]
    write_history(tmp_path / "history", records, np.zeros(7, dtype=np.int64), records["ts_ns"])
    return Run(
        fleet=FLEET,
        span=SPAN,
        settings=Settings().with_values({"data_dir": tmp_path}, "the test"),
        wall_s=12.3456,
        peak_rss_bytes=250_000_000,
        restarts={"control": 1},
        stage_wall_s={"world": 1.23456},
    )


def test_report_of_a_good_run(run: Run) -> None:
    report = make_report(run, accounts())
    assert (report["sites"], report["sim_hours"], report["wall_s"]) == (5, 24.0, 12.346)
    assert (report["samples_sent"], report["samples_applied"], report["samples_lost"]) == (6, 6, 0)
    assert report["samples_twice_in_history"] == 1
    assert (report["bids_submitted"], report["gates_total"], report["gates_missed"]) == (2, 2, 0)
    assert report["award_mwh"] == pytest.approx(3.002)
    assert report["delivered_mwh"] == pytest.approx(3.002)
    assert report["delivered_share"] == 1.0
    assert report["delivered_share_by_resource"] == {VPP: 1.0, BESS: 1.0}
    assert report["revenue_by_resource"] == {VPP: 0.08, BESS: -60.0}
    assert report["revenue"] == -59.92
    assert (report["money_balance_error"], report["energy_balance_error_kwh"]) == (0.0, 0.0)
    assert (report["currency"], report["peak_rss_mb"], report["coverage_mean"]) == ("USD", 250.0, 0.987654)
    assert report["stage_wall_s"] == {"world": 1.23}


def test_lost_sample_is_seen(run: Run) -> None:
    assert make_report(run, accounts(homes={"created": 9}))["samples_lost"] == 3


@pytest.mark.parametrize(
    ("moved", "share"),
    [({5: -1_500}, 0.75), ({5: -2_500}, 1.0), ({5: 2_000}, 0.0), ({}, 0.0), ({6: -2_000}, 0.0)],
)
def test_delivery_counts_what_was_awarded_in_its_hour_and_direction(
    run: Run, moved: dict[int, int], share: float
) -> None:
    given = accounts(homes={"meters": {VPP: meters(moved), BESS: meters({2: 3_000_000})}})
    assert make_report(run, given)["delivered_share_by_resource"][VPP] == share


def test_money_that_does_not_follow_from_the_meters_is_an_error(run: Run) -> None:
    given = accounts()
    given["bidding"]["statements"][0]["net_amount"] += 500
    assert make_report(run, given)["money_balance_error"] == pytest.approx(500 / 1e8)


def test_shares_that_are_not_the_owners_part_are_an_error(run: Run) -> None:
    given = accounts()
    given["bidding"]["statements"][0]["shares_amount"] += 7
    given["bidding"]["statements"][1]["shares_amount"] -= 5
    assert make_report(run, given)["money_balance_error"] == pytest.approx(12 / 1e8)


def test_split_that_did_not_add_up_is_an_error(run: Run) -> None:
    report = make_report(run, accounts(bidding={"split_error": 3}))
    assert report["money_balance_error"] == pytest.approx(3 / 1e8)


def test_missing_statement_is_an_error_of_its_whole_amount(run: Run) -> None:
    given = accounts()
    given["bidding"]["statements"].pop(0)
    report = make_report(run, given)
    assert report["money_balance_error"] == pytest.approx(0.08)
    assert report["energy_balance_error_kwh"] == pytest.approx(2.0)


def test_statement_that_differs_from_the_meters_is_an_energy_error(run: Run) -> None:
    given = accounts(homes={"residual_wh": 3, "stored_balance_error_kwh": 0.5})
    given["bidding"]["statements"][0]["delivered_wh"] = -1_990
    assert make_report(run, given)["energy_balance_error_kwh"] == pytest.approx(0.003 + 0.5 + 0.010)


def test_day_outside_the_run_is_left_out(run: Run) -> None:
    given = accounts()
    late = Run(
        **{
            **{name: getattr(run, name) for name in Run.__dataclass_fields__},
            "span": Interval(start_ns=SPAN.start_ns + NS_PER_HOUR, end_ns=SPAN.end_ns),
        }
    )
    report = make_report(late, given)
    assert (report["award_mwh"], report["delivered_share"], report["revenue"]) == (0.0, None, 0.0)


def test_perfect_foresight_is_an_upper_bound_that_a_plain_day_stays_below(run: Run) -> None:
    """One full cycle of the battery at the day's lowest and highest price cannot beat it."""
    report = make_report(run, accounts())
    _, cents = prices_over("HB_NORTH", SPAN)
    plate = FLEET.nameplate[FLEET.row_of[FLEET.site_ids[-1]]]
    low, high = int(np.argmin(cents)), int(np.argmax(cents))
    power_mw = plate["charge_limit_kw"] / 1e3
    gain = power_mw * (0.95 * 0.95 * cents[high] - cents[low]) / 100 if low < high else 0.0
    assert report["revenue_perfect_foresight_by_resource"][BESS] >= max(gain, 0.0)
    assert report["revenue_perfect_foresight"] == pytest.approx(
        sum(report["revenue_perfect_foresight_by_resource"].values()), abs=0.01
    )
