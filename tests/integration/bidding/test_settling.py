"""From meters to shares against a market over HTTP that loses answers, corrects what it said, and a plant that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal.bidding.cycle.ports import Bidder
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.market.metering import MeterReport, to_report
from shoal.market.registry import MODULES, market_module
from shoal.market.settlement import amounts_by_interval
from shoal.settle.shares import interval_shares
from shoal.simulate.exchange import ExchangeFaults
from shoal.simulate.exchange_tape import Corrections
from tests.integration.bidding.settling_plant import SITES
from tests.integration.bidding.settling_world import World, world
from tests.integration.simulate.settling_days import CLOCK_DAYS
from tests.integration.simulate.settling_names import RESOURCE

ROOT = Path(__file__).parents[3]
HOSTILE = ExchangeFaults(refused_frac=0.1, unknown_frac=0.15, lost_frac=0.02, lost_s=0.7, seed=4)


def assert_whole(one: World) -> None:
    """Everything that the market issued is kept, checked and shared to the unit, and corrections moved what they named."""
    plant, place = one.plant, (RESOURCE, one.plant.market.rules.market_id, one.day.isoformat())
    versions = plant.cycles.settlements(*place)
    assert versions == one.book.settlements(RESOURCE, one.day.isoformat(), now_ns=one.clock.t_ns)
    checks = {record.checked.version: record.checked for record in plant.settlings.checks(*place)}
    assert list(checks) == [version.version for version in versions]
    assert checks[versions[-1].version].agreed, checks[versions[-1].version]
    for version in versions:
        shares = plant.settlings.shares(*place, version=version.version)
        assert shares is not None and shares.amount == version.amount
        assert shares.site_ids == SITES
        amounts = amounts_by_interval(version.lines)
        before = plant.settlings.shares(*place, version=version.version - 1)
        for at, amount in amounts.items():
            parts = interval_shares(shares, at, amount)
            assert sum(parts[0].values()) + parts[1] == amount
            if before is not None and at not in version.changed:
                assert parts == interval_shares(before, at, amount)


@pytest.mark.parametrize("market", MODULES, ids=lambda market: market.rules.market_id)
def test_a_day_of_clock_change_is_settled_in_every_market(market: object, tmp_path: Path) -> None:
    market_id = market.rules.market_id  # type: ignore[attr-defined]
    corrections = Corrections(share_frac=0.2, after_s=27 * 3_600.0, award_share_frac=0.5, seed=2)
    with world(market_id, CLOCK_DAYS[market_id][1], tmp_path, corrections=corrections) as one:
        one.pass_day()
        one.go_to(one.end_ns + 130 * NS_PER_MINUTE, turns=2)
        one.meters.mend({0: -30_001, 2: 7})
        one.meters.weight_wh = (1, 2, 3)
        one.go_to(one.end_ns + 5 * NS_PER_HOUR, turns=3)
        one.go_to(one.end_ns + 40 * NS_PER_HOUR, turns=3)
        assert_whole(one)
        assert len(one.plant.cycles.settlements(RESOURCE, market_id, one.day.isoformat())) >= 2
        assert one.plant.settlings.open_disputes() == []


def test_lost_answers_leave_nothing_out_and_count_nothing_twice(tmp_path: Path) -> None:
    with world("ercot", CLOCK_DAYS["ercot"][1], tmp_path, faults=HOSTILE) as one:
        one.pass_day()
        one.go_to(one.end_ns + 130 * NS_PER_MINUTE, turns=12)
        one.meters.mend({4: 99})
        one.go_to(one.end_ns + 5 * NS_PER_HOUR, turns=12)
        seen = one.plant.settling.statistics()
        assert seen.unavailable > 0 and seen.contradicted == seen.readings_refused == 0
        assert one.book.meters(RESOURCE, one.day.isoformat()) == [
            msgspec.structs.replace(reading, revision=int(number == 4))
            for number, reading in enumerate(to_report([], one.meters.delivered))
        ]
        assert_whole(one)


def test_what_a_meter_house_says_otherwise_is_disputed_until_it_is_mended(tmp_path: Path) -> None:
    with world("sdac", date(2025, 10, 26), tmp_path, metering_agent="meter-house") as one:
        one.pass_day()
        own = one.meters.delivered
        wrong = (msgspec.structs.replace(own[0], delivered_wh=own[0].delivered_wh + 500), *own[1:])

        def agent(delivered: object) -> None:
            held = one.book.meters(RESOURCE, one.day.isoformat())
            report = MeterReport(resource_id=RESOURCE, readings=to_report(held, delivered))  # type: ignore[arg-type]
            one.book.take_meters(report, participant="meter-house", received_ns=one.clock.t_ns)

        agent(wrong)
        one.go_to(one.end_ns + 130 * NS_PER_MINUTE, turns=2)
        (found,) = one.plant.settlings.open_disputes(RESOURCE)
        (dispute,) = found.checked.disputes
        price_cents = dispute.own_cents_per_mwh
        assert (dispute.start_ns, dispute.product, dispute.reason) == (own[0].start_ns, "imbalance", "energy")
        assert dispute.amount == -500 * price_cents == found.checked.market_amount - found.checked.own_amount
        assert one.plant.settling.statistics().readings_refused > 0
        agent(own)
        one.go_to(one.end_ns + 4 * NS_PER_HOUR, turns=2)
        assert one.plant.settlings.open_disputes() == []
        versions = one.plant.cycles.settlements(RESOURCE, "sdac", one.day.isoformat())
        assert [at.start_ns for at in versions[-1].changed] == [own[0].start_ns]
        first = one.plant.settlings.checks(RESOURCE, "sdac", one.day.isoformat())[0]
        assert first.checked.disputes == (dispute,)  # what was disputed stays on record


def test_turns_go_on_whatever_one_of_them_comes_to(tmp_path: Path) -> None:
    with world("sdac", date(2025, 10, 26), tmp_path) as one:
        one.pass_day()
        one.clock.t_ns = one.end_ns + 130 * NS_PER_MINUTE
        one.plant.collector.collect(
            one.plant.bidder, one.plant.market, one.plant.exchange, now_ns=one.clock.t_ns
        )
        failures = iter([RuntimeError("the meters' own fault"), None])
        real = one.plant.settling.settle

        def settle(*arguments: Any, **named: Any) -> int:
            failure = next(failures, None)
            if failure is not None:
                raise failure
            return real(*arguments, **named)

        one.plant.settling.settle = settle  # type: ignore[method-assign]
        held: dict[str, Bidder] = {RESOURCE: one.plant.bidder}

        async def until_checked() -> None:
            running = asyncio.create_task(
                one.plant.settling.run(
                    held=held,
                    market=market_module,
                    exchanges={"sdac": one.plant.exchange},
                    clock=one.clock,
                    turn_s=0.01,
                )
            )
            while one.plant.settlings.shares(RESOURCE, "sdac", one.day.isoformat()) is None:  # noqa: ASYNC110 - a store tells nobody
                await asyncio.sleep(0.01)
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

        asyncio.run(asyncio.wait_for(until_checked(), timeout=30.0))
        assert one.plant.settling.statistics().turns_failed == 1
        assert_whole(one)


def test_a_plant_killed_between_any_two_steps_settles_everything_once(tmp_path: Path) -> None:
    with world("nem", date(2025, 10, 5), tmp_path, faults=ExchangeFaults(unknown_frac=0.2, seed=9)) as one:
        one.pass_day()
        one.clock.t_ns = one.end_ns + 130 * NS_PER_MINUTE
        readings = tmp_path / "readings.json"
        readings.write_bytes(msgspec.json.encode(one.meters.delivered))
        place = (RESOURCE, "nem", one.day.isoformat())
        for point, kept in (("fetched", 0), ("recorded", 1)):
            _kill_at(point, one, tmp_path, readings)
            assert len(one.plant.cycles.settlements(*place)) == kept
            assert one.plant.settlings.checks(*place) == []
            assert one.plant.settlings.shares(*place) is None
        one.go_to(one.clock.t_ns, turns=8)
        assert_whole(one)
        assert one.book.meters(RESOURCE, one.day.isoformat()) == list(to_report([], one.meters.delivered))


def _kill_at(point: str, one: World, folder: Path, readings: Path) -> None:
    """Start a plant, let it come to a point, and kill it there; a request that fails is made again."""
    for _ in range(20):
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.integration.bidding.settler", one.url),
                *(f"sqlite:///{folder / 'plant.db'}", "nem", str(one.clock.t_ns), str(readings), point),
            ],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        said = child.stdout.readline().strip()
        if said == point:
            os.kill(child.pid, signal.SIGKILL)
        child.stdout.close()
        child.wait(timeout=30.0)
        if said == point:
            return
    raise AssertionError(f"it never came to {point!r}")
