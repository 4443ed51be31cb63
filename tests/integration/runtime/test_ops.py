"""The operations endpoint over a real socket."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest

from shoal.domain.errors import UnavailableError
from shoal.runtime.ops import OpsServer


def test_endpoints_answer_for_the_role_alone() -> None:
    async def scenario() -> None:
        reason = ["the journal is not read yet"]
        async with OpsServer(role="shard-0", ready=lambda: reason[0]) as ops:
            ops.register("queue", lambda: {"depth": 3})
            host, port = await ops.start()
            async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
                alive = await client.get("/healthz")
                assert (alive.status_code, alive.json()["status"]) == (200, "alive")
                waiting = await client.get("/readyz")
                assert waiting.status_code == 503
                assert waiting.json()["reason"] == "the journal is not read yet"
                reason[0] = ""
                assert (await client.get("/readyz")).status_code == 200
                metrics = await client.get("/metrics")
                assert "shoal_shard_0_queue_depth 3.0" in metrics.text
                assert "process_resident_memory_bytes" in metrics.text
                assert (await client.get("/secrets")).status_code == 404
                assert (await client.post("/metrics")).status_code == 405
                assert (await client.head("/healthz")).content == b""

    asyncio.run(scenario())


def test_nonsense_and_endless_heads_do_no_harm() -> None:
    async def scenario() -> None:
        async with OpsServer(role="api", ready=lambda: "") as ops:
            host, port = await ops.start()
            for payload in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"x" * 100_000):
                reader, writer = await asyncio.open_connection(host, port)
                with contextlib.suppress(ConnectionError):
                    writer.write(payload)
                    await writer.drain()
                    await reader.read()
                writer.close()
            silent = await asyncio.open_connection(host, port)
            async with httpx.AsyncClient() as client:
                assert (await client.get(f"http://{host}:{port}/healthz")).status_code == 200
            silent[1].close()

    asyncio.run(scenario())


def test_taken_port_is_said_clearly() -> None:
    async def scenario() -> None:
        async with (
            OpsServer(role="api", ready=lambda: "") as first,
            OpsServer(role="edge", ready=lambda: "") as second,
        ):
            host, port = await first.start()
            with pytest.raises(UnavailableError, match=f"{port} of edge"):
                await second.start(host, port)

    asyncio.run(scenario())
