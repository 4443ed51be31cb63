"""What a resource delivered, from registers on disk, against energies reckoned by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.bidding.cycle.ports import Bidder
from shoal.bidding.settling_meters import HistoryMeters
from shoal.bidding.settling_runner import open_settling
from shoal.domain.facts import Facts
from shoal.domain.ids import HierarchyId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.domain.telemetry import TELEMETRY
from shoal.market.awards import MarketAward, Settlement
from shoal.market.metering import MeterReading, MeterReceipt, MeterReport
from shoal.market.registry import market_module
from shoal.market.series import price_series
from shoal.market.settlement import settlement_intervals
from shoal.store.cycles import Cycles
from shoal.store.database import migrate, open_database
from shoal.store.facts import FactStore
from shoal.store.history import History
from shoal.store.settlings import Settlings
from shoal.twin.membership import Spans
from tests.integration.store.fleets import make_fleet
from tests.unit.store.history_cases import write_history

DAY = date(2025, 11, 2)  # 25 hours in Texas
FLEET = make_fleet(5)
RESOURCE = next(one for one in FLEET.resources if one.resource_id == "a-feeder")
ROWS = (1, 3)
ERCOT = market_module("ercot")
GRID = settlement_intervals(ERCOT.rules, DAY)


def write_both(root: Path) -> None:
    """Site 1 takes in 3 kWh in the first hour; site 3 gives 2 kWh in the last. Both run on at the day's edges."""
    start_ns, hours = GRID[0].start_ns, (GRID[-1].end_ns - GRID[0].start_ns) // NS_PER_HOUR
    ts_ns = np.arange(
        start_ns - NS_PER_HOUR, GRID[-1].end_ns + NS_PER_HOUR + 1, 5 * NS_PER_MINUTE, dtype=np.int64
    )
    into_h = (ts_ns - start_ns) / NS_PER_HOUR
    last_h = np.clip(into_h - (hours - 1), 0, 1)
    for row, charge_wh, discharge_wh in (
        (1, 7_000 + np.rint(3_000 * np.clip(into_h, 0, 1)), np.full(len(ts_ns), 500.0)),
        (3, np.full(len(ts_ns), 90.0), np.rint(2_000 * last_h)),
        (2, np.rint(9_000 * np.clip(into_h, 0, hours)), np.zeros(len(ts_ns))),  # not of this resource
    ):
        records = TELEMETRY.empty(len(ts_ns))
        records["ts_ns"] = ts_ns
        records["seq"] = np.arange(1, len(ts_ns) + 1)
        records["charge_wh"] = charge_wh
        records["discharge_wh"] = discharge_wh
        write_history(root, records, np.full(len(ts_ns), row), ts_ns)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path / "history")
    yield history
    history.close()


def meters(history: History) -> HistoryMeters:
    return HistoryMeters(fleet=lambda: FLEET, history=history)


def test_energy_is_read_by_settlement_interval(tmp_path: Path, history: History) -> None:
    write_both(tmp_path / "history")
    found = meters(history)(RESOURCE.resource_id, ERCOT, DAY)
    assert found is not None
    assert [(one.start_ns, one.end_ns) for one in found.delivered] == [(g.start_ns, g.end_ns) for g in GRID]
    hour = 4
    assert sum(one.delivered_wh for one in found.delivered[:hour]) == 3_000
    assert sum(one.delivered_wh for one in found.delivered[-hour:]) == -2_000
    assert not any(one.delivered_wh for one in found.delivered[hour:-hour])
    assert found.site_ids == tuple(FLEET.site_ids[row] for row in ROWS)
    assert found.weight_wh.tolist() == [3_000, 2_000]


def test_a_site_counts_while_it_is_in_the_group(tmp_path: Path, history: History) -> None:
    write_both(tmp_path / "history")
    joined_ns = GRID[0].start_ns + NS_PER_HOUR // 2
    group = FLEET.group_number[RESOURCE.group_id]

    def memberships(hierarchy_id: HierarchyId, start_ns: int, end_ns: int) -> Spans:
        def column(*values: int) -> NDArray[np.int64]:
            return np.array(values, dtype=np.int64)

        return Spans(
            site_row=column(ROWS[0], ROWS[1]),
            group=column(group, group).astype(np.int32),
            start_ns=column(joined_ns, start_ns),
            end_ns=column(end_ns, end_ns),
        )

    found = HistoryMeters(fleet=lambda: FLEET, history=history, memberships=memberships)(
        RESOURCE.resource_id, ERCOT, DAY
    )
    assert found is not None
    assert sum(one.delivered_wh for one in found.delivered[:4]) == 1_500
    assert found.delivered[0].delivered_wh == found.delivered[1].delivered_wh == 0
    assert found.weight_wh.tolist() == [1_500, 2_000]


def test_a_silent_resource_is_estimated_and_an_unknown_one_is_none(history: History) -> None:
    found = meters(history)(RESOURCE.resource_id, ERCOT, DAY)
    assert found is not None and all(one.estimated and not one.delivered_wh for one in found.delivered)
    assert meters(history)("nobody", ERCOT, DAY) is None


def test_a_plant_settles_from_its_history_and_its_owners_shares(tmp_path: Path, history: History) -> None:
    """A day of the resource, from registers on disk to what each home receives, without a market over HTTP."""
    write_both(tmp_path / "history")
    url = f"sqlite:///{tmp_path / 'plant.db'}"
    migrate(url)
    engine = open_database(url)
    market = SilentMarket(RESOURCE.resource_id)
    Cycles(engine).record_award(market.award, known_ns=1)
    prices = {
        name: np.array([[20.0]] * len(grid))
        for name, grid in (
            ("day-ahead", ERCOT.delivery_intervals("day-ahead", DAY)),
            ("real-time", GRID),
        )
    }
    for name, value in prices.items():
        grid = ERCOT.delivery_intervals(name, DAY)
        FactStore(engine).record(
            Facts(
                series_id=price_series("ercot", RESOURCE.settlement_point, name),
                source="ercot",
                known_ns=1,
                start_ns=np.array([at.start_ns for at in grid]),
                end_ns=np.array([at.end_ns for at in grid]),
                value=value,
            )
        )
    settling = open_settling(engine=engine, fleet=lambda: FLEET, history=history)
    bidder = Bidder(
        resource_id=RESOURCE.resource_id,
        market_id="ercot",
        settlement_point=RESOURCE.settlement_point,
        strategy="",
    )
    now_ns = GRID[-1].end_ns + 2 * NS_PER_HOUR
    assert settling.settle(bidder, ERCOT, market, now_ns=now_ns) == 1
    assert [reading.delivered_wh for reading in market.held][:4] == [750, 750, 750, 750]
    place = (RESOURCE.resource_id, "ercot", DAY.isoformat())
    (checked,) = Settlings(engine).checks(*place)
    assert checked.checked.agreed
    shares = Settlings(engine).shares(*place)
    # 1 kWh more was bought than sold at 20.00 per MWh
    assert shares is not None and shares.amount == -1_000 * 2_000
    owners = sum(shares.owner_amount.tolist())
    assert abs(owners) <= round(RESOURCE.owner_share_frac * 1_000) * 1_000 * 2_000 // 1_000
    assert settling.settle(bidder, ERCOT, market, now_ns=now_ns) == 0
    engine.dispose()


class SilentMarket:
    """A market that takes meters and settles a day in which nothing was awarded, by its own rules."""

    def __init__(self, resource_id: str) -> None:
        self.award = MarketAward(
            resource_id=resource_id,
            market_id="ercot",
            settlement_point=RESOURCE.settlement_point,
            delivery_date=DAY.isoformat(),
            bid_id="",
            version=1,
            published_ns=1,
            quantities=(),
        )
        self.held: tuple[MeterReading, ...] = ()

    def awards(self, resource_id: str, delivery_date: str) -> list[MarketAward]:
        return [self.award]

    def meters(self, resource_id: str, delivery_date: str) -> list[MeterReading]:
        return list(self.held)

    def send_meters(self, report: MeterReport) -> MeterReceipt:
        self.held = report.readings
        return MeterReceipt(taken_count=len(report.readings), repeated_count=0, older_count=0)

    def settlements(self, resource_id: str, delivery_date: str) -> list[Settlement]:
        prices = {"real-time": {at.start_ns: 20.0 for at in GRID}}
        read = [reading.delivered for reading in self.held]
        return [ERCOT.settle(self.award, read, prices, run="initial", issued_ns=2)]
