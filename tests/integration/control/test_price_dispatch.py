"""Price dispatch over a real server and over real processes: silent, late and dead parts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import nats
import numpy as np
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from shoal.cli.benches import _fleet_instances as instances
from shoal.cli.benches._fleet_cases import build_shard
from shoal.cli.benches._fleet_highs import solve_central
from shoal.control import price_dispatch_wire as wire
from shoal.control.price_dispatch import PriceDispatch, prices_subject, serve_homes
from shoal.control.price_dispatch_shards import ShardedHomes
from shoal.domain.errors import InvalidInputError, UnavailableError, WireFormatError
from shoal.fabric.server import find_binary
from shoal.optimise.fleet_optimum import Ask, FleetSearch, SearchOptions, solve_fleet
from shoal.optimise.fleet_optimum_parts import Part
from shoal.optimise.home_batch import HomeBatch

TIMEOUT_S = 20.0
COUNT, GROUPS, PARTS = 30, 5, 3
GAP = 1e-3


@pytest.fixture
def server_url(tmp_path: Path) -> Iterator[str]:
    command = [str(find_binary()), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not (found := list(tmp_path.glob("*.ports"))) or not found[0].stat().st_size:
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield json.loads(found[0].read_text())["nats"][0]
    finally:
        child.terminate()
        child.wait(TIMEOUT_S)


def part_of(part: int) -> HomeBatch:
    return build_shard(COUNT, GROUPS, part, PARTS)


def new_search(most_rounds: int = 300) -> FleetSearch:
    return FleetSearch(
        instances.terms(COUNT),
        np.zeros(GROUPS, np.int64),
        homes_count=COUNT,
        options=SearchOptions(gap_frac=GAP, most_rounds=most_rounds),
    )


def dispatch(client: Client, *, round_timeout_s: float = 10.0) -> PriceDispatch:
    return PriceDispatch(
        client,
        fleet="north",
        feeder_of=np.zeros(GROUPS, np.int64),
        steps=instances.STEPS,
        round_timeout_s=round_timeout_s,
        roll_timeout_s=10.0,
    )


async def serve_until(ready: list[asyncio.Event]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        for one in ready:
            await one.wait()


def test_search_over_the_network_finds_the_optimum_and_homes_hear_it(server_url: str) -> None:
    best = solve_central(instances.homes(COUNT, groups=GROUPS), instances.terms(COUNT)).cost
    kept: list[Ask] = []

    async def body() -> None:
        above, below = await nats.connect(server_url), await nats.connect(server_url)
        ready = [asyncio.Event() for _ in range(PARTS)]
        tasks = [
            asyncio.create_task(
                serve_homes(
                    below,
                    part_of(part),
                    fleet="north",
                    part=str(part),
                    on_keep=kept.append,
                    ready=ready[part],
                )
            )
            for part in range(PARTS)
        ]
        await serve_until(ready)
        over = dispatch(above)
        assert len(await over.call_roll(expected=PARTS)) == PARTS
        assert over.homes_count == COUNT
        plan = await over.solve(new_search())
        assert plan.gap_frac <= GAP
        assert plan.lower_bound <= best + 1e-6 * abs(best)
        assert plan.cost >= best - 1e-6 * abs(best)
        assert (await over.keep(plan, how="average")).keys() == {"0", "1", "2"}
        said = over.statistics()
        assert said.rounds == plan.rounds + 1
        assert said.silent == said.late == said.refused == 0
        # What goes down does not grow with the homes: a message a round.
        assert said.down_bytes < said.rounds * 8 * instances.STEPS * 60
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await above.close()
        await below.close()

    asyncio.run(body())
    assert len(kept) == PARTS


def test_search_goes_on_without_a_part_that_only_answers_the_roll(server_url: str) -> None:
    async def body() -> None:
        above, below = await nats.connect(server_url), await nats.connect(server_url)
        ready = [asyncio.Event() for _ in range(2)]
        tasks = [
            asyncio.create_task(
                serve_homes(below, part_of(part), fleet="north", part=str(part), ready=ready[part])
            )
            for part in range(2)
        ]
        dumb = Part.of(part_of(2))

        async def only_present(message: Msg) -> None:
            said = wire.decode_down(message.data)
            if isinstance(said, wire.Call):
                await below.publish(message.reply, wire.encode(wire.present_of(said.search, "2", dumb)))
            else:  # noise, and an answer to a round that is over
                await below.publish(message.reply, b"\x00")
                late = wire.encode(wire.Up(search=said.search, number=-5, part="2", steps=1, energy=b"", cost=b"",
                                           lower_bound=b"", penalty=b""))  # fmt: skip
                await below.publish(message.reply, late)

        await below.subscribe(prices_subject("north"), cb=only_present)
        await below.flush()
        await serve_until(ready)
        over = dispatch(above, round_timeout_s=0.5)
        await over.call_roll(expected=PARTS)
        plan = await over.solve(new_search(most_rounds=6))
        assert plan.heard_frac == pytest.approx(2 / 3, abs=0.01)
        said = over.statistics()
        assert said.silent >= 6
        assert said.refused >= 6 and said.late >= 6
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await above.close()
        await below.close()

    asyncio.run(body())


def test_search_without_anybody_says_so(server_url: str) -> None:
    async def body() -> None:
        above = await nats.connect(server_url)
        over = dispatch(above)
        with pytest.raises(UnavailableError, match="roll call"):
            await over.solve(new_search())
        await above.close()

    asyncio.run(body())


def test_processes_answer_as_one_and_survive_the_death_of_one() -> None:
    best = solve_central(instances.homes(COUNT, groups=GROUPS), instances.terms(COUNT)).cost
    with ShardedHomes(partial(build_shard, COUNT, GROUPS), shards=2, round_timeout_s=60.0) as homes:
        assert homes.homes_count == COUNT
        plan = solve_fleet(new_search(), homes)
        assert plan.heard_frac == 1.0
        assert plan.lower_bound <= best + 1e-6 * abs(best)
        assert plan.cost >= best - 1e-6 * abs(best)
        os.kill(homes.pids[1], signal.SIGKILL)
        fewer = solve_fleet(new_search(most_rounds=4), homes)
        assert fewer.heard_frac == pytest.approx(0.5)


def test_names_of_fleets_are_single_words() -> None:
    assert prices_subject("north") == "homes.north.prices"
    for name in ("", "a.b", "a b", ">"):
        with pytest.raises(InvalidInputError, match="fleet"):
            prices_subject(name)


def test_messages_that_do_not_fit_are_refused() -> None:
    with pytest.raises(WireFormatError):
        wire.decode_down(b"nonsense")
    with pytest.raises(WireFormatError, match="version"):
        wire.decode_down(wire.encode(wire.Call(version=9, search="x")))
    up = wire.Up(
        search="x", number=0, part="p", steps=2, energy=b"123", cost=b"", lower_bound=b"", penalty=b""
    )
    with pytest.raises(WireFormatError, match="shape"):
        wire.sums_of(up, 1, 2)
    bad = np.full(2, np.nan).tobytes()
    with pytest.raises(WireFormatError, match="finite"):
        wire.sums_of(
            wire.Up(
                search="x", number=0, part="p", steps=2, energy=bad, cost=b"", lower_bound=b"", penalty=b""
            ),
            1,
            2,
        )
