"""An order that is launched is followed on a real socket, and its history and the feed are of one piece."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx

from tests.integration.api.running import Follower, running
from tests.unit.api.doors import make_records
from tests.unit.api.plants import T0_NS, aggregates

T0_MS = T0_NS // 1_000_000


def test_order_is_looked_at_launched_followed_and_aborted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, records=make_records()) as up:
            up.plant.model.on_aggregates(aggregates())
            place = f"http://127.0.0.1:{up.port}"
            async with httpx.AsyncClient(base_url=place, headers={"Origin": place}) as caller:

                async def post(path: str, body: dict[str, Any]) -> Any:
                    made = await caller.post(path, json=body)
                    assert made.status_code == 200, made.text
                    return made.json()

                asked = {"groups": ["homes"], "minutes": 60, "discharge_kw": 3.0}
                seen = await post("/api/dispatch/preview", {"setpoint": asked})
                order = await post("/api/commands/setpoints", {**asked, "preview": seen["token"]})
                topic = f"order/{order['order_id']}"
                async with up.socket(f"?topics={topic}") as socket:
                    page = Follower(socket)
                    await page.until(lambda _: (page.feeds.get(topic) or {}).get("value") is not None)
                    now = page.feeds[topic]["value"]
                    assert (now["phase"], now["commanded_kw"], now["measured_kw"]) == ("running", -3.0, -2.0)
                    series = (await caller.get(f"/api/dispatch/orders/{order['order_id']}/series")).json()
                    assert series["t_ms"][-1] == now["t_ms"]
                    assert series["measured_kw"][-1] == now["measured_kw"]
                    await post(
                        f"/api/commands/orders/{order['order_id']}/end", {"now": True, "reason": "stop"}
                    )
                    await page.until(lambda _: page.feeds[topic]["value"]["state"] == "aborted")
                    assert page.feeds[topic]["value"]["commanded_kw"] is None
                async with up.socket("?topics=order/no-such") as socket:
                    page = Follower(socket)
                    await page.until(lambda _: bool((page.feeds.get("order/no-such") or {}).get("fault")))

    asyncio.run(scenario())
