"""A site in the search for prices: what it answers, what it lets go, and how it keeps to the mean of its plans."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from shoal.domain.orders import PriceSeries, SiteOrders
from shoal.edge import price_round
from shoal.edge.downlink import Message
from shoal.edge.modes import Mode
from shoal.edge.price_round import PriceAsk, column, numbers, series_of
from shoal.edge.site import Site
from shoal.edge.site_prices import SitePrices
from tests.unit.edge.site_setup import START_NS, Time, home, live, site

STEPS, STEP_S = 48, 900


def asked(time: Time, number: int = 0, price: float = 0.0, late_s: float = 5.0) -> Message:
    roll = number == price_round.ROLL
    ask = PriceAsk(
        search="s",
        number=number,
        start_ns=START_NS,
        step_s=STEP_S,
        steps=STEPS,
        until_ns=time.ns + int(late_s * 1e9),
        prices=b"" if roll else column([price] * STEPS),
    )
    return Message(0, "prices", price_round.encode(ask))


def run(
    folder: Path, body: Callable[[Site, SitePrices, Time, list[bytes]], object], sharing: str = "group"
) -> None:
    async def living() -> None:
        time = Time()
        agent = site(folder, time, home(time))
        pricing = SitePrices(agent, sharing=sharing)  # type: ignore[arg-type]
        said: list[bytes] = []
        pricing.on_answer = said.append
        await live(agent, time, 60)
        body(agent, pricing, time, said)
        pricing.close()

    asyncio.run(living())


def test_newest_question_is_answered_and_all_of_a_search_from_one_state(tmp_path: Path) -> None:
    def body(agent: Site, pricing: SitePrices, time: Time, said: list[bytes]) -> None:
        pricing.hear(asked(time, price_round.ROLL))
        pricing.work()
        pricing.hear(asked(time, 1))
        pricing.hear(asked(time, 2))
        pricing.work()
        time.pass_s(20)
        pricing.hear(asked(time, 3))
        pricing.work()
        found = [price_round.decode_answer(one, STEPS) for one in said]
        assert [one.number for one in found] == [price_round.ROLL, 2, 3]
        assert found[1].energy == found[2].energy, "the rounds of a search speak of one and the same site"
        assert pricing.count["replaced"] == 1

    run(tmp_path, body)


@pytest.mark.parametrize("why", ["off", "late", "opted_out", "stale", "nonsense"])
def test_site_is_silent_where_it_would_not_follow_or_does_not_know(tmp_path: Path, why: str) -> None:
    def body(agent: Site, pricing: SitePrices, time: Time, said: list[bytes]) -> None:
        if why == "opted_out":
            agent.mind.set_independent(True)
        if why == "stale":
            time.pass_s(3_600)
        message = asked(time, 1, late_s=-1.0 if why == "late" else 5.0)
        pricing.hear(Message(0, "prices", b"\x81nonsense") if why == "nonsense" else message)
        pricing.work()
        assert not said

    run(tmp_path, body, sharing="off" if why == "off" else "group")


def test_site_keeps_to_the_mean_of_its_plans_until_another_document_comes(tmp_path: Path) -> None:
    async def body() -> None:
        time = Time()
        agent = site(tmp_path, time, home(time, soc_frac=0.5))
        await live(agent, time, 20)
        early, late = [
            [-0.25 if lo <= at < hi else 0.0 for at in range(STEPS)] for lo, hi in ((0, 8), (8, 16))
        ]
        series = series_of([early, late], [0.5, 0.5], start_ns=START_NS, step_s=STEP_S)
        orders = SiteOrders(version=1, issued_ns=time.ns, issuer="plant", fence=1, prices=series)
        assert agent.hear("orders", msgspec.json.encode(orders)).outcome == "applied"
        await live(agent, time, 10)
        assert agent.decision is not None and agent.decision.mode.mode is Mode.PRICE
        assert agent.plan is not None
        wanted = dict(zip(agent.plan.start_ns, agent.plan.home.energy_kwh, strict=True))
        stored = []
        for _ in range(12):
            await live(agent, time, 900 - (time.ns - START_NS) / 1e9 % 900)
            assert agent.seen is not None and agent.seen.soc_frac is not None
            kept = 13.5 * (agent.seen.soc_frac - 0.2)
            at = min(wanted, key=lambda t: abs(t - time.ns))
            stored.append((kept, wanted[at]))
        off = np.array([kept - planned for kept, planned in stored])
        assert np.abs(off).max() < 0.25, "plans made anew on the way would lead elsewhere"
        assert max(kept for kept, _ in stored) > 6.0, "it charges"

    asyncio.run(body())


@pytest.mark.parametrize(
    "changed",
    [
        {"rows": ((0.0,) * STEPS,)},
        {"weights": (1.0,)},
        {"rows": ((0.0,),), "weights": (1.0,)},
        {"rows": ((0.0,) * STEPS,), "weights": (0.5,)},
        {"rows": ((0.0,) * STEPS,), "weights": (1.0,), "added": False},
        {"rows": ((float("1e400"),) * STEPS,), "weights": (1.0,)},
    ],
)
def test_documents_with_rows_that_are_none_are_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    time = Time()
    agent = site(tmp_path, time, home(time))
    prices = PriceSeries(
        start_ns=START_NS, step_s=STEP_S, import_per_kwh=(0.0,) * STEPS, export_per_kwh=(0.0,) * STEPS, added=True
    )  # fmt: skip
    wrong = msgspec.structs.replace(prices, **changed)
    orders = SiteOrders(version=1, issued_ns=time.ns, issuer="plant", fence=1, prices=wrong)
    assert agent.hear("orders", msgspec.json.encode(orders)).outcome == "refused"
    assert numbers(column([1.0]), 1) == (1.0,)
