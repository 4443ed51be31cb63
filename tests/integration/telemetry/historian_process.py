"""A historian as a process of its own, to be killed: `python -m tests.integration.telemetry.historian_process <arguments>`.

Says `ready` once it reads, and writes often. On SIGTERM it closes well.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from shoal.domain.clock import Clock
from shoal.fabric.journal import JournalReader
from shoal.fabric.keys import Keys, Role
from shoal.fabric.subjects import TELEMETRY_STREAM, journal_filter
from shoal.runtime.clock import open_clock
from shoal.simulate.fleet import plan_fleet
from shoal.store.history_folder import LocalFolder
from shoal.store.history_keep import Keeper, KeepOptions
from shoal.store.history_register import FileRegister
from shoal.store.history_snapshots import FolderSnapshots
from shoal.store.history_write import PartWriter
from shoal.telemetry.historian_unit import HistorianUnit, UnitOptions
from shoal.telemetry.intake import Intake
from tests.unit.telemetry.journals import every_row


async def main(url: str, key_dir: str, data_dir: str, homes: str, clock_source: str) -> None:
    """Run until SIGTERM."""
    fleet = plan_fleet(int(homes), 1)
    clock = open_clock(clock_source, token="", name="history")
    folder = LocalFolder(Path(data_dir) / "history")
    owned = FileRegister(Path(data_dir) / "register" / "history.bin")
    gate = asyncio.Event()
    gate.set()
    keeper = Keeper(folder, KeepOptions(grace_s=0.5, raw_days=0, rollup_5min_days=0))
    unit = HistorianUnit(
        unit="history",
        token=owned.token,
        options=UnitOptions(write_rows=400, snapshot_every_s=1_800),
        clock=clock,
        intake=Intake(fleet=fleet, rows_of=every_row, clock=clock),
        writer=PartWriter(folder, "history", owned),
        snapshots=FolderSnapshots(folder),
        gate=gate,
    )
    reader = JournalReader(
        url,
        seed=Keys.create_or_load(Path(key_dir)).seed(Role.JOURNAL),
        stream=TELEMETRY_STREAM,
        filters=journal_filter(),
        start_seq=await unit.restore(),
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    working = [
        asyncio.ensure_future(body)
        for body in (unit.read(reader), _write(unit), _keep(keeper, clock), stop.wait())
    ]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    done, rest = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    for task in done:
        task.result()
    await unit.close()
    await reader.close()


async def _write(unit: HistorianUnit) -> None:
    while True:
        await asyncio.sleep(0.02)
        await unit.write()


async def _keep(keeper: Keeper, clock: Clock) -> None:
    while True:
        await asyncio.sleep(0.05)
        await asyncio.to_thread(keeper.run, clock.now_ns())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
