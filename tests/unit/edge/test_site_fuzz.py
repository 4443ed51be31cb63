"""A site's agent under a random bad day: whatever comes, the battery keeps to the reserve, its limits and the connection's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from shoal.domain.desired import DesiredState
from shoal.domain.orders import DroopArming, Envelope, PriceSeries, ScheduledEvent, SiteOrders
from shoal.edge.modes import Mode
from shoal.edge.site import Site
from tests.unit.edge.site_setup import HOUR_NS, Time, home, site

TICK_S = 10.0
IMPORT_KW, EXPORT_KW = 6.0, 3.0


def some_orders(random: np.random.Generator, version: int, now_ns: int) -> bytes:
    def around() -> tuple[int, int]:
        start_ns = now_ns + int(random.integers(-HOUR_NS, HOUR_NS))
        return start_ns, start_ns + int(random.integers(1, 2 * HOUR_NS))

    kinds: Any = ("power", "charge", "hold", "local")
    events = []
    for number in range(int(random.integers(0, 4))):
        start_ns, end_ns = around()
        events.append(
            ScheduledEvent(
                event_id=f"e{version}-{number}",
                program="peak",
                kind=kinds[int(random.integers(4))],
                start_ns=start_ns,
                end_ns=end_ns,
                battery_w=int(random.integers(-9_000, 9_000)),
                soc_frac=float(random.random()),
                ramp_s=float(random.choice([0.0, 60.0])),
            )
        )
    start_ns, end_ns = around()
    prices = PriceSeries(
        start_ns=start_ns,
        step_s=300,
        import_per_kwh=tuple(random.uniform(-0.2, 0.6, 12).tolist()),
        export_per_kwh=tuple(random.uniform(-0.2, 0.6, 12).tolist()),
    )
    document = SiteOrders(
        version=version,
        issued_ns=now_ns,
        issuer="plant",
        fence=1,
        halted=bool(random.random() < 0.1),
        events=tuple(events),
        prices=prices if random.random() < 0.7 else None,
        envelopes=(Envelope(start_ns=start_ns, end_ns=end_ns, import_limit_w=2_000, export_limit_w=500),),
        droop=DroopArming(
            start_ns=start_ns,
            end_ns=end_ns,
            reference_hz=50.0,
            deadband_hz=0.0,
            full_deviation_hz=0.01,
            up_w=5_000,
            down_w=5_000,
        ),
    )
    return msgspec.json.encode(document)


def some_lease(random: np.random.Generator, version: int, now_ns: int) -> bytes:
    start_ns = now_ns + int(random.integers(-HOUR_NS, HOUR_NS))
    return msgspec.json.encode(
        DesiredState(
            version=version,
            battery_w=int(random.integers(-20_000, 20_000)),
            start_ns=start_ns,
            end_ns=start_ns + int(random.integers(1, 2 * HOUR_NS)),
            issuer="plant",
            fence=1,
            ramp_s=float(random.choice([0.0, 120.0])),
        )
    )


def keep(agent: Site, reserve_frac: float) -> None:
    agent.owner(lambda mind: mind.set_reserve(reserve_frac))


@pytest.mark.parametrize("seed", range(3))
def test_random_bad_day_breaks_no_promise(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)

    async def body() -> None:
        time = Time()
        driver = home(time, soc_frac=0.5)
        agent = site(tmp_path, time, driver, limits={"import_kw": IMPORT_KW, "export_kw": EXPORT_KW})
        least_soc, modes = 0.2, set()
        for version in range(1, 201):
            chance = random.random()
            if chance < 0.15:
                agent.hear("desired", some_lease(random, version, time.ns))
            elif chance < 0.3:
                agent.hear("orders", some_orders(random, version, time.ns))
            elif chance < 0.33:
                agent.hear("orders", random.bytes(40))
            elif chance < 0.36:
                driver.cut = not driver.cut
            elif chance < 0.38:
                agent.owner(lambda mind: mind.set_off(bool(random.random() < 0.3)))
            elif chance < 0.40:
                agent.owner(lambda mind: mind.set_independent(bool(random.random() < 0.3)))
            elif chance < 0.42:
                least_soc = 0.2 + 0.3 * float(random.random())
                keep(agent, least_soc)
            elif chance < 0.43:
                time.ns += int(random.integers(-3 * HOUR_NS, 3 * HOUR_NS))
            for _ in range(int(random.integers(1, 6))):
                before_kwh = float(driver.world.stored_kwh[0])
                time.pass_s(TICK_S)
                await agent.step()
                modes.add(agent.decision.mode.mode if agent.decision else None)
                asked_w = 0 if agent.decision is None else agent.decision.battery_w
                assert abs(asked_w) <= 5_000
                below = before_kwh < least_soc * 13.5 - 1e-3
                assert not (below and asked_w < 0), "below the reserve nothing is given"
                if agent.seen is not None and asked_w and agent.fresh(time.s):
                    net_w = (agent.seen.load_w or 0) + (agent.seen.solar_w or 0) + (agent.seen.ev_w or 0)
                    if asked_w > 0:
                        assert net_w + asked_w <= IMPORT_KW * 1e3 + 1
                    else:
                        assert net_w + asked_w >= -EXPORT_KW * 1e3 - 1
        assert len(modes & {Mode.OFF, Mode.DIRECT, Mode.SCHEDULE, Mode.PRICE, Mode.LOCAL}) >= 3
        held = agent.store.records_since(0, 10_000)
        assert (np.diff(held["seq"]) == 1).all()
        for name in ("charge_wh", "discharge_wh", "import_wh", "export_wh"):
            assert (np.diff(held[name]) >= 0).all(), name

    asyncio.run(body())
