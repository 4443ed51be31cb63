"""One server for the tests that do not kill it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.integration.fabric.plant import Plant


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    made = Plant.make(tmp_path_factory.mktemp("fabric"))

    async def start() -> None:
        await made.server.start()
        await made.make_streams()

    asyncio.run(start())
    yield made
    asyncio.run(made.server.stop())
