"""A device that floods a real server is cut off and kept out for a while; its neighbours notice nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import numpy as np
import pytest

from shoal.domain.ids import SiteId
from shoal.edge.link import Links, LinkSettings
from shoal.fabric.admission import Admission
from shoal.fabric.guard import Guard, GuardLimits
from tests.integration.fabric.plant import TIMEOUT_S, Plant

LIMITS = GuardLimits(messages_per_s=20.0, every_s=0.4, strikes=2, cut_off_s=1.5, most_seen=8)
NEIGHBOURS = 40
FLOODS = 0
GATEWAY = 1


@pytest.fixture
def links(plant: Plant) -> Iterator[Links]:
    names = [SiteId(f"guarded-{number}") for number in range(NEIGHBOURS)]
    host, port = plant.server.mqtt_address
    settings = LinkSettings(backoff_base_s=0.1, backoff_cap_s=0.2)
    with Links(
        host, port, names, ["secret"] * NEIGHBOURS, tls=None, keep_alive_s=60, rng_seed=1, settings=settings
    ) as links:
        yield links


def test_flooding_device_is_cut_off_and_comes_back_later(plant: Plant, links: Links) -> None:
    admission = Admission()
    guard = Guard(
        plant.keys, admission, LIMITS, sites_of=lambda device: 50 if device == f"guarded-{GATEWAY}" else 1
    )

    async def poll_until(condition: object, *, flooding: bool = False) -> None:
        deadline_s = time.monotonic() + TIMEOUT_S
        quiet = np.arange(2, NEIGHBOURS)
        beat = 0
        while not condition():  # type: ignore[operator]
            assert time.monotonic() < deadline_s, (links.statistics(), guard.statistics())
            links.poll(0.0)
            if flooding:
                links.publish_many(np.full(5, FLOODS), [b"x"] * 5)
                links.publish_many(np.full(5, GATEWAY), [b"x"] * 5)
                beat += 1
                if beat % 20 == 0:
                    links.publish_many(quiet, [b"x"] * len(quiet))
            await asyncio.sleep(0.01)

    async def body() -> None:
        async with plant.callout(lambda *_: True, admission=admission):
            watching = asyncio.create_task(guard.serve(plant.server.url))
            links.connect_all(1_000)
            await poll_until(links.up.all)
            await poll_until(lambda: not links.up[FLOODS], flooding=True)
            cut_off_s = time.monotonic()
            assert guard.statistics().cut_off_total >= 1
            await poll_until(lambda: bool(links.up[FLOODS]))
            assert time.monotonic() - cut_off_s > 1.0, "it is kept out for a while"
            watching.cancel()
            await asyncio.wait([watching])

    asyncio.run(body())
    seen = links.statistics()
    assert links.up.all()
    assert seen.dropped_by_reason["closed"] == 1, "nobody else was dropped"
    assert seen.dropped_by_reason["refused"] == seen.refused_by_code[5] >= 1
    assert seen.went_up == NEIGHBOURS + 1
    assert admission.statistics().cut_off_total == seen.refused_by_code[5]
    assert guard.statistics().failures_total == 0
    assert guard.statistics().connections_seen <= LIMITS.most_seen
