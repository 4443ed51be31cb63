"""One site's agent on a clock of the test's own: what it does when devices, orders, disks and clocks misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal.domain.desired import DesiredState
from shoal.domain.orders import DroopArming, Envelope, OrderReport, PriceSeries, ScheduledEvent, SiteOrders
from shoal.domain.telemetry import Flag, mask_of
from shoal.edge.drivers.protocol import Measurement, Parameters
from shoal.edge.modes import Mode
from shoal.edge.site import Site
from tests.unit.edge.site_setup import HOUR_NS, START_NS, Time, home, live, site


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(body)


def lease(version: int, battery_w: int, start_ns: int, end_ns: int) -> bytes:
    return msgspec.json.encode(
        DesiredState(
            version=version, battery_w=battery_w, start_ns=start_ns, end_ns=end_ns, issuer="plant", fence=1
        )
    )


def orders(version: int, **content: Any) -> bytes:
    return msgspec.json.encode(
        SiteOrders(version=version, issued_ns=START_NS, issuer="plant", fence=1, **content)
    )


def mode_of(agent: Site) -> Mode:
    assert agent.decision is not None
    return agent.decision.mode.mode


def reason_of(agent: Site) -> str:
    assert agent.decision is not None
    return agent.decision.mode.reason


def power_of(agent: Site) -> int:
    assert agent.decision is not None
    return agent.decision.battery_w


class Handmade:
    """A driver whose answers are the test's."""

    def __init__(self) -> None:
        self.seen: Measurement | Exception = Measurement(battery_w=0, solar_w=0, load_w=1_000, soc_frac=0.5)
        self.written: list[int] = []
        self.released = 0
        self.deaf = False

    async def read(self) -> Measurement:
        if isinstance(self.seen, Exception):
            raise self.seen
        return self.seen

    async def write(self, battery_w: int) -> None:
        if self.deaf:
            raise OSError("no route to the battery")
        self.written.append(battery_w)

    async def release(self) -> None:
        self.released += 1

    async def parameters(self) -> Parameters:
        return Parameters()

    async def close(self) -> None:
        return None


def test_lease_is_followed_until_it_ends_and_reported(tmp_path: Path) -> None:
    async def body() -> None:
        time = Time()
        driver = home(time)
        agent = site(tmp_path, time, driver)
        said: list[OrderReport] = []
        agent.on_report = said.append
        await live(agent, time, 60)
        report = agent.hear("desired", lease(1, -2_000, time.ns, time.ns + 300_000_000_000))
        assert (report.outcome, report.kind, report.version) == ("applied", "desired", 1)
        await live(agent, time, 60)
        assert (power_of(agent), mode_of(agent)) == (-2_000, Mode.DIRECT)
        assert int(driver.world.battery_w[0]) == -2_000
        await live(agent, time, 300)
        assert mode_of(agent) is Mode.LOCAL
        assert reason_of(agent) == "lease_ended"
        assert [(one.mode, one.reason) for one in said] == [
            ("direct", "lease_in_force"),
            ("local", "lease_ended"),
        ]
        assert agent.hear("desired", b"rubbish").outcome == "refused"
        assert agent.hear("desired", lease(1, 500, time.ns, time.ns + HOUR_NS)).reason == "stale_version"

    run(body())


def test_silent_devices_turn_it_off_and_the_battery_to_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        time = Time()
        driver = Handmade()
        agent = site(tmp_path, time, driver)
        agent.hear("desired", lease(1, -2_000, time.ns, time.ns + HOUR_NS))
        await live(agent, time, 20)
        assert driver.written[-1] == -2_000
        driver.seen = OSError("unplugged")
        await live(agent, time, 20)
        assert driver.written[-1] == -2_000, "an answer that is late once changes nothing"
        await live(agent, time, 20)
        assert driver.written[-1] == 0
        assert mode_of(agent) is Mode.OFF
        assert "unplugged" in agent.driver_fault
        driver.seen = ValueError("a bug of the driver")
        await live(agent, time, 20)
        driver.seen = Measurement(battery_w=0, solar_w=0, load_w=1_000, soc_frac=None)
        await live(agent, time, 20)
        assert (mode_of(agent), reason_of(agent)) == (Mode.OFF, "battery_unreadable")
        driver.seen = Measurement(battery_w=0, solar_w=0, load_w=1_000, soc_frac=7.0)
        await live(agent, time, 10)
        assert reason_of(agent) == "battery_unreadable", "no battery is seven times full"
        driver.seen = Measurement(battery_w=0, solar_w=0, load_w=1_000, soc_frac=0.5)
        driver.deaf = True
        await live(agent, time, 10)
        assert mode_of(agent) is Mode.DIRECT
        assert agent.statistics().faults["write"] == 1
        driver.deaf = False
        await live(agent, time, 10)
        assert driver.written[-1] == -2_000

    run(body())


def test_switch_of_the_owner_gives_the_battery_back(tmp_path: Path) -> None:
    async def body() -> None:
        time = Time()
        driver = Handmade()
        agent = site(tmp_path, time, driver)
        agent.owner(lambda mind: mind.set_off(True))
        await live(agent, time, 30)
        assert driver.released == 1
        assert not driver.written
        agent.owner(lambda mind: mind.set_off(False))
        await live(agent, time, 20)
        assert len(driver.written) == 2

    run(body())


def test_reserve_and_envelope_hold_whatever_is_asked(tmp_path: Path) -> None:
    async def body() -> None:
        time = Time()
        driver = home(time, soc_frac=0.25)
        agent = site(tmp_path, time, driver)
        agent.hear("desired", lease(1, -5_000, time.ns, time.ns + 4 * HOUR_NS))
        await live(agent, time, 2 * 3_600, 30.0)
        assert 0.195 < float(driver.world.soc_frac[0]) < 0.205
        agent.owner(lambda mind: mind.set_reserve(0.6))
        agent.hear("desired", lease(2, 5_000, time.ns, time.ns + 8 * HOUR_NS))
        envelope = Envelope(
            start_ns=time.ns, end_ns=time.ns + HOUR_NS, import_limit_w=2_000, export_limit_w=0
        )
        agent.hear("orders", orders(1, envelopes=(envelope,)))
        await live(agent, time, 300)
        for _ in range(60):
            before = time.ns
            await live(agent, time, 10)
            assert int(driver.world.grid_w[0]) <= 2_100, before
        assert int(driver.world.battery_w[0]) > 500

    run(body())


def test_prices_are_followed_until_they_end_then_the_own_tariff(tmp_path: Path) -> None:
    async def body() -> None:
        time = Time()
        driver = home(time, soc_frac=0.3)
        agent = site(tmp_path, time, driver)
        await live(agent, time, 60)
        assert agent.plan is not None
        cheap = PriceSeries(
            start_ns=time.ns,
            step_s=1_800,
            import_per_kwh=(0.01, 0.9),
            export_per_kwh=(0.0, 0.8),
        )
        agent.hear("orders", orders(1, prices=cheap))
        await live(agent, time, 120)
        assert (mode_of(agent), power_of(agent)) == (Mode.PRICE, 5_000)
        await live(agent, time, 1_800, 30.0)
        assert power_of(agent) < -4_000, "sold while it is dear"
        await live(agent, time, 1_800, 30.0)
        assert (mode_of(agent), reason_of(agent)) == (Mode.LOCAL, "prices_ended")
        assert agent.plan.from_plant_until_ns == 0
        assert agent.statistics().plans <= 16

    run(body())


def test_agent_remembers_orders_forecast_and_registers_over_a_power_cut(tmp_path: Path) -> None:
    async def body() -> None:
        time = Time()
        agent = site(tmp_path, time, home(time))
        prices = PriceSeries(
            start_ns=time.ns, step_s=3_600, import_per_kwh=(0.2,) * 10, export_per_kwh=(0.1,) * 10
        )
        event = ScheduledEvent(
            event_id="e1",
            program="peak",
            kind="power",
            start_ns=time.ns + HOUR_NS,
            end_ns=time.ns + 2 * HOUR_NS,
            battery_w=-1_500,
        )
        agent.hear("orders", orders(3, prices=prices, events=(event,)))
        agent.hear("desired", lease(7, 100, time.ns, time.ns + 600_000_000_000))
        await live(agent, time, 1_800, 30.0)
        learned = list(agent.planner.forecast.state.day_seen)
        waiting = len(agent.store)
        del agent  # not closed
        again = site(tmp_path, time, home(time))
        assert len(again.store) == waiting == 30
        assert sum(again.planner.forecast.state.day_seen) > 0
        assert sum(learned) >= sum(again.planner.forecast.state.day_seen)
        assert again.hear("desired", lease(7, 900, time.ns, time.ns + HOUR_NS)).reason == "stale_version"
        await live(again, time, 60)
        assert mode_of(again) is Mode.PRICE
        await live(again, time, 1_800)
        assert (mode_of(again), power_of(again)) == (Mode.SCHEDULE, -1_500)
        again.owner(lambda mind: mind.opt_out("e1", time.ns))
        await live(again, time, 20)
        assert (mode_of(again), reason_of(again)) == (Mode.PRICE, "opted_out")

    run(body())


@pytest.mark.parametrize("rubbish", [b"", b"rubbish", b"SHST1\n\0\0\0\0\x80"])
def test_spoiled_memory_is_put_aside_and_the_agent_starts(tmp_path: Path, rubbish: bytes) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "agent.state").write_bytes(rubbish)

    async def body() -> None:
        time = Time()
        agent = site(tmp_path, time, home(time))
        await live(agent, time, 20)
        assert agent.statistics().faults == {"state": 1}
        assert (tmp_path / "state" / "agent.bad").read_bytes() == rubbish
        await agent.close()
        assert site(tmp_path, time, home(time)).statistics().faults == {}

    run(body())


def test_samples_are_means_a_minute_with_what_was_measured_alone(tmp_path: Path) -> None:
    async def body() -> None:
        time = Time()
        driver = Handmade()
        agent = site(tmp_path, time, driver)
        await live(agent, time, 60)
        driver.seen = Measurement(battery_w=3_000, solar_w=-5_000, load_w=1_000, soc_frac=0.5)
        await live(agent, time, 60)
        driver.seen = Measurement(load_w=1_200)
        await live(agent, time, 60)
        driver.seen = OSError("gone")
        await live(agent, time, 180)
        records = agent.store.records_since(0, 100)
        assert len(records) == 3
        four = records[1]
        assert (four["battery_w"], four["solar_w"], four["load_w"]) == (3_000, -5_000, 1_000)
        assert four["flags"] == Flag.ESTIMATED, "registers were counted here"
        assert (four["charge_wh"], four["discharge_wh"]) == (50, 0)
        assert (four["import_wh"], four["export_wh"]) == (13, 16)
        assert int(records[2]["present"]) & mask_of("battery_w", "soc_frac", "solar_w") == 0
        assert int(records[2]["present"]) & mask_of("load_w")

    run(body())


def test_clock_that_jumps_makes_no_double_samples_and_no_stale_plan(tmp_path: Path) -> None:
    async def body() -> None:
        time = Time()
        agent = site(tmp_path, time, home(time))
        await live(agent, time, 300)
        made = len(agent.store)
        time.ns -= 3 * HOUR_NS
        await live(agent, time, 60)
        assert agent.plan is not None
        assert agent.plan.made_ns <= time.ns
        assert len(agent.store) - made <= 2
        time.ns += 40 * 24 * HOUR_NS
        await live(agent, time, 60)
        assert agent.plan.made_ns <= time.ns < agent.plan.start_ns[1]
        assert mode_of(agent) is Mode.LOCAL

    run(body())


def test_frequency_is_answered_within_one_tick_without_the_plant(tmp_path: Path) -> None:
    async def body() -> None:
        time = Time()
        driver = Handmade()
        agent = site(tmp_path, time, driver)
        arming = DroopArming(
            start_ns=time.ns,
            end_ns=time.ns + HOUR_NS,
            reference_hz=50.0,
            deadband_hz=0.02,
            full_deviation_hz=0.5,
            up_w=4_000,
        )
        agent.hear("orders", orders(1, droop=arming))
        steady = Measurement(battery_w=0, solar_w=0, load_w=0, soc_frac=0.6, frequency_hz=50.0)
        driver.seen = steady
        await live(agent, time, 20)
        assert driver.written[-1] == 0
        driver.seen = Measurement(battery_w=0, solar_w=0, load_w=0, soc_frac=0.6, frequency_hz=49.61)
        await live(agent, time, 10)
        assert driver.written[-1] == pytest.approx(-4_000 * (0.39 - 0.02) / 0.48, rel=0.02)
        agent.owner(lambda mind: mind.set_independent(True))
        await live(agent, time, 10)
        assert driver.written[-1] == 0

    run(body())


def test_set_points_every_few_seconds_do_not_wear_the_disk_out(tmp_path: Path) -> None:
    async def body() -> None:
        time = Time()
        agent = site(tmp_path, time, Handmade())
        path = tmp_path / "state" / "agent.state"
        written = 0
        last = 0
        for number in range(1, 61):
            agent.hear("desired", lease(number, 100 * number, time.ns, time.ns + HOUR_NS))
            await live(agent, time, 10)
            now = path.stat().st_mtime_ns if path.exists() else 0
            written += now != last
            last = now
        assert 1 <= written <= 12
        assert agent.decision is not None
        assert agent.decision.following_version == 60

    run(body())
