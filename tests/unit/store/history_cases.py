"""What the tests of history share: samples by minute, a unit that writes them, and what must be read back."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
from numpy.typing import NDArray

from shoal.store.history import History
from shoal.store.history_folder import Folder, LocalFolder
from shoal.store.history_register import FileRegister, UnitState
from shoal.store.history_write import PartWriter, Samples
from tests.unit.store.records import make_records

UNIT = "history"
P = ParamSpec("P")


def in_loop(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Let a coroutine be a test."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def body() -> None:
            await test(*args, **kwargs)

        asyncio.run(body())

    return run


def samples(*, first: int, minutes: int, sites: int = 3) -> Samples:
    """Return samples of which minute `m` came from the journal's position `m + 1`."""
    records, site_no, arrival_ns = make_records(sites=sites, first=first, minutes=minutes)
    return Samples(records=records, site_no=site_no.astype(np.int32), arrival_ns=arrival_ns)


def register(tmp_path: Path) -> FileRegister:
    """Take the unit's register over."""
    return FileRegister(tmp_path / "register" / "unit.bin")


async def write_minutes(
    folder: Folder, owned: FileRegister, *, minutes: int, sites: int = 3, at_minute: int | None = None
) -> UnitState:
    """Recover, then write minutes from where the unit stands, or late ones from `at_minute` on."""
    writer = PartWriter(folder, UNIT, owned)
    state = await writer.recover()
    first = state.position if at_minute is None else at_minute
    more = samples(first=first, minutes=minutes, sites=sites)
    return await writer.write(more, UnitState(position=state.position + minutes))


def pairs(history: History) -> list[tuple[int, int]]:
    """Return the site and number of every sample in history."""
    table = history.query("SELECT site_no, seq FROM telemetry ORDER BY ALL")
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def expected(minutes: int, *, sites: int = 3) -> list[tuple[int, int]]:
    """Return what `pairs` must say after so many minutes."""
    return [(site, seq) for site in range(sites) for seq in range(1, minutes + 1)]


def write_history(
    root: Path, records: NDArray[Any], site_no: NDArray[np.integer[Any]], arrival_ns: NDArray[np.int64]
) -> None:
    """Write records into the history under `root`, after what is there."""
    given = Samples(
        records=records,
        site_no=site_no.astype(np.int32),
        arrival_ns=np.broadcast_to(np.asarray(arrival_ns, dtype=np.int64), (len(records),)),
    )

    async def write() -> None:
        writer = PartWriter(LocalFolder(root), UNIT, FileRegister(root.with_name("history-register.bin")))
        state = await writer.recover()
        await writer.write(given, UnitState(position=state.position + 1))

    asyncio.run(write())
