"""The settlement of a day from meters on disk, against money reckoned by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.bidding.settlement import SettledDay, bounds_of, settle_day
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.domain.telemetry import TELEMETRY
from shoal.market.types import Award, AwardedInterval
from shoal.store.history import History
from tests.integration.store.fleets import make_fleet
from tests.unit.bidding.plans import DAY, LONG_DAY
from tests.unit.store.history_cases import write_history

FLEET = make_fleet(5)
RESOURCE = next(r for r in FLEET.resources if r.resource_id == "a-feeder")
ROWS = (1, 3)
BOUNDS_NS = bounds_of("ercot-da", DAY.isoformat())


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path / "history")
    yield history
    history.close()


def write(root: Path, row: int, ts_ns: NDArray[np.int64], charge_wh: object, discharge_wh: object) -> None:
    records = TELEMETRY.empty(len(ts_ns))
    records["ts_ns"] = ts_ns
    records["seq"] = np.arange(1, len(ts_ns) + 1)
    records["charge_wh"] = charge_wh
    records["discharge_wh"] = discharge_wh
    write_history(root, records, np.full(len(ts_ns), row), ts_ns)


def write_both(root: Path) -> None:
    """Site 1 takes in 3 kWh in the first hour; site 3 gives 2 kWh in the last. Both run on at the day's edges."""
    ts_ns = np.arange(BOUNDS_NS[0] - NS_PER_HOUR, BOUNDS_NS[-1] + NS_PER_HOUR + 1, 10 * NS_PER_MINUTE)
    into_h = (ts_ns - BOUNDS_NS[0]) / NS_PER_HOUR
    write(root, 1, ts_ns, 7_000 + np.rint(3_000 * np.clip(into_h, 0, 1)), 500)
    write(root, 3, ts_ns, 90, np.rint(2_000 * np.clip(into_h - 23, 0, 1)))
    # a site that is not of this resource
    write(root, 2, ts_ns, np.rint(9_000 * np.clip(into_h, 0, 24)), 0)


def award(
    first_wh: int = 4_000, last_wh: int = -2_000, price: float = 30.0, last_price: float = 50.25
) -> Award:
    hours = len(BOUNDS_NS) - 1
    energies = [first_wh, *[0] * (hours - 2), last_wh]
    prices = [price, *[10.0] * (hours - 2), last_price]
    return Award(
        resource_id=RESOURCE.resource_id,
        market_id="ercot-da",
        settlement_point=RESOURCE.settlement_point,
        delivery_date=DAY.isoformat(),
        bid_id="b",
        version=1,
        published_ns=0,
        intervals=tuple(
            AwardedInterval(
                start_ns=int(BOUNDS_NS[i]), end_ns=int(BOUNDS_NS[i + 1]), energy_wh=e, price_per_mwh=p
            )
            for i, (e, p) in enumerate(zip(energies, prices, strict=True))
        ),
    )


def settled(history: History, of: Award) -> SettledDay:
    return settle_day(fleet=FLEET, resource=RESOURCE, award=of, history=history, bounds_ns=BOUNDS_NS)


def test_money_is_what_a_person_reckons(tmp_path: Path, history: History) -> None:
    write_both(tmp_path / "history")
    day = settled(history, award())
    first, last = day.statement.intervals[0], day.statement.intervals[-1]
    assert (first.delivered_wh, last.delivered_wh) == (3_000, -2_000)
    # 4 kWh bought at 30/MWh: 12 cents; 1 kWh not taken is sold back: 3 cents; 10 % of that is the charge
    assert first.award_amount == -12_000_000
    assert first.imbalance_amount == 3_000_000
    assert first.deviation_charge == 300_000
    # 2 kWh sold at 50.25/MWh: 10.05 cents
    assert (last.award_amount, last.imbalance_amount, last.deviation_charge) == (10_050_000, 0, 0)
    net = -12_000_000 + 3_000_000 - 300_000 + 10_050_000
    assert day.statement.net_amount == net
    assert (day.statement.award_wh, day.statement.delivered_wh) == (2_000, 1_000)
    assert day.statement.currency == "USD"
    assert day.estimated_intervals == 0


def test_shares_follow_the_energy_moved_and_add_up(tmp_path: Path, history: History) -> None:
    """The owners get 70 %, three fifths of it the first and two fifths the second; the loss is shared as well."""
    write_both(tmp_path / "history")
    for of in (award(), award(first_wh=3_000, price=20.0)):
        day = settled(history, of)
        net = day.statement.net_amount
        owners = int(day.owner_amount.sum())
        assert owners + day.operator_amount == net
        assert owners == pytest.approx(0.7 * net, abs=1)
        assert day.owner_amount.tolist() == pytest.approx([0.42 * net, 0.28 * net], abs=1)
    assert net > 0


def test_meters_without_a_sample_at_the_hour_are_estimated(tmp_path: Path, history: History) -> None:
    """Readings 30 minutes before and after the first boundary: half of the energy between them lies on either side."""
    root = tmp_path / "history"
    half = 30 * NS_PER_MINUTE
    ts_ns = np.array([BOUNDS_NS[0] - half, BOUNDS_NS[0] + half, *(BOUNDS_NS[1:] + 0)], dtype=np.int64)
    write(root, 1, ts_ns, [0, 1_000, *[1_500] * 24], 0)
    write(root, 3, BOUNDS_NS, 0, 0)
    day = settled(history, award(first_wh=1_000, last_wh=0))
    assert day.statement.intervals[0].delivered_wh == 1_000
    assert day.statement.intervals[0].estimated
    assert day.estimated_intervals == 1


def test_day_without_any_meter_delivers_nothing_and_is_estimated(history: History) -> None:
    day = settled(history, award())
    assert day.statement.delivered_wh == 0
    assert day.estimated_intervals == 24
    assert int(day.owner_amount.sum()) + day.operator_amount == day.statement.net_amount


def test_late_reading_changes_the_settlement(tmp_path: Path, history: History) -> None:
    root = tmp_path / "history"
    write(root, 1, BOUNDS_NS[:-1], np.arange(24) * 100, 0)
    write(root, 3, BOUNDS_NS, 0, 0)
    before = settled(history, award(0, 2_300))
    write(root, 4, BOUNDS_NS[-1:], 0, 0)
    records = TELEMETRY.empty(1)
    records["ts_ns"], records["seq"], records["charge_wh"] = BOUNDS_NS[-1], 25, 4_600
    write_history(root, records, np.array([1]), records["ts_ns"])
    after = settled(history, award(0, 2_300))
    assert before.statement.intervals[-1].delivered_wh == 0
    assert after.statement.intervals[-1].delivered_wh == 2_300
    assert after.estimated_intervals < before.estimated_intervals


def test_bounds_of_a_day_of_25_hours() -> None:
    bounds = bounds_of("ercot-da", LONG_DAY.isoformat())
    assert len(bounds) == 26
    assert np.all(np.diff(bounds) == NS_PER_HOUR)
