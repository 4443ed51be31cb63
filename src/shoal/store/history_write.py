"""Writing history exactly once: hidden files, then the register, then their names.

A write is decided in one instant, when the register takes it. Before, its files are hidden and whoever comes next removes
them; after, they are given their names, by this writer or by the next one. A writer that was replaced cannot commit, so
nothing of it is ever seen; a repeated rename changes nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import IO, Any, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.telemetry import TELEMETRY
from shoal.store import history_layout as layout
from shoal.store.history_folder import Folder
from shoal.store.history_register import Register, UnitState
from shoal.store.history_schema import SCHEMA, group_rows, hour_order, to_stored, write_options


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Samples to be written: N records of `TELEMETRY`, with their sites and times of arrival."""

    records: NDArray[Any]
    site_no: NDArray[np.int32]
    arrival_ns: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in ("site_no", "arrival_ns"):
            if len(getattr(self, name)) != len(self.records):
                raise InvalidInputError(
                    field=name, value=len(getattr(self, name)), fix=f"give {len(self.records)} of them"
                )

    def __len__(self) -> int:
        return len(self.records)

    @staticmethod
    def none() -> Samples:
        """Return no samples."""
        return Samples(
            records=TELEMETRY.empty(0),
            site_no=np.empty(0, dtype=np.int32),
            arrival_ns=np.empty(0, dtype=np.int64),
        )


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """How far a unit is, for readers: everything up to `position` is in its place."""

    position: int
    snapshot: bytes = b""
    snapshot_position: int = 0


class Writer(Protocol):
    """Writes one unit's samples, in whatever kind of table."""

    async def recover(self) -> UnitState:
        """Finish or undo what a former owner left half done, and return what stands."""
        ...

    async def write(self, samples: Samples, state: UnitState) -> UnitState:
        """Write samples and commit `state`; when this returns both are durable and can be read."""
        ...


class PartWriter:
    """Writes the samples of one unit as Parquet parts by hour of device time.

    Args:
        folder: Where history lives.
        unit: The unit's name.
        register: The unit's register, owned.
    """

    def __init__(self, folder: Folder, unit: str, register: Register) -> None:
        self._folder = folder
        self._unit = layout.check_unit(unit)
        self._register = register

    async def recover(self) -> UnitState:
        """See `Writer`.

        Raises:
            CorruptStateError: when files that were committed are gone.
        """
        state = UnitState.decode(self._register.state)
        await asyncio.to_thread(self._recover, state)
        return state

    async def write(self, samples: Samples, state: UnitState) -> UnitState:
        """See `Writer`.

        Args:
            samples: What to write; none moves the position only.
            state: What to commit; its `position` is the last one that the samples came from. `from_position`, `files`,
                `mark` and `rows` are filled in here.

        Raises:
            FencedOutError: when another owns the unit; nothing was written.
            UnavailableError: when the register did not answer: recover before anything else.
            InvalidInputError: when the position runs backwards.
        """
        before = UnitState.decode(self._register.state)
        if state.position < before.position or (len(samples) and state.position == before.position):
            raise InvalidInputError(
                field="position", value=state.position, fix=f"give one above {before.position}"
            )
        mark = str(self._register.token)
        span = (before.position + 1, state.position)
        paths = await asyncio.to_thread(self.write_hidden, samples, span, mark)
        committed = msgspec.structs.replace(
            state,
            from_position=span[0],
            files=len(paths),
            mark=mark,
            rows=before.rows + len(samples),
        )
        await self._register.commit(committed.encode())
        await asyncio.to_thread(self._publish, paths, committed)
        return committed

    def write_hidden(self, samples: Samples, span: tuple[int, int], mark: str) -> list[str]:
        """Write the parts of some samples under hidden names, and return the names that they are to have."""
        order, hour = hour_order(samples.records["ts_ns"], samples.site_no)
        records = samples.records[order]
        site_no, arrival_ns, hour = samples.site_no[order], samples.arrival_ns[order], hour[order]
        cuts = np.flatnonzero(np.diff(hour)) + 1
        paths = []
        for low, high in zip([0, *cuts.tolist()], [*cuts.tolist(), len(order)], strict=True):
            if low == high:
                continue
            table = to_stored(records[low:high], site_no[low:high], arrival_ns[low:high])
            name = layout.hour_name(int(hour[low]) * NS_PER_HOUR)
            path = layout.part_path(name, self._unit, *span)
            write_table(self._folder, layout.hidden_path(path, mark), table)
            paths.append(path)
        return paths

    def _publish(self, paths: list[str], state: UnitState) -> None:
        for path in paths:
            if not self._folder.rename(layout.hidden_path(path, state.mark), path):
                self._check_published(path)
        write_mark(self._folder, self._unit, state)

    def _check_published(self, path: str) -> None:
        """Raise unless a committed file is in its place: whoever took over may have put it there."""
        folder = path.split("/")[1]
        there = layout.raw_files(self._folder.tree(layout.RAW, folders=lambda name: name == folder))
        mine = next((f for f in there if f.path == path), None)
        to_seq = int(path.rpartition("-")[2].removesuffix(".parquet"))
        merged = any(f.merged and f.unit == self._unit and f.to_seq >= to_seq for f in there)
        if mine is None and not merged:
            raise CorruptStateError(f"{self._folder.address}/{path}", "it was committed and is gone")

    def _recover(self, state: UnitState) -> None:
        tree = self._folder.tree(layout.RAW)
        last = f"p-{self._unit}-{state.from_position}-{state.position}.parquet"
        committed = f".{last}.{state.mark}"
        published = {folder for folder, names in tree.items() if last in names}
        for folder, names in tree.items():
            for name in names:
                path = f"{layout.RAW}/{folder}/{name}"
                if name == committed and state.files:
                    self._folder.rename(path, f"{layout.RAW}/{folder}/{last}")
                    published.add(folder)
                elif name.startswith(f".p-{self._unit}-"):
                    self._folder.remove(path)
        merged = {
            f"hour={f.hour}"
            for f in layout.raw_files(tree)
            if f.merged and f.unit == self._unit and f.to_seq >= state.position
        }
        if (
            len(published | merged) < state.files
            and read_mark(self._folder, self._unit).position < state.position
        ):
            raise CorruptStateError(
                self._folder.address,
                f"{state.files} files were committed as {last}, {len(published)} are there",
            )
        write_mark(self._folder, self._unit, state)


def write_table(folder: Folder, path: str, table: pa.Table) -> None:
    """Write a table of samples durably."""

    def fill(sink: IO[bytes]) -> None:
        pq.write_table(
            table, sink, row_group_size=group_rows(len(table)), **write_options(SCHEMA, len(table))
        )

    folder.write(path, fill)


def write_mark(folder: Folder, unit: str, state: UnitState) -> None:
    """Tell readers how far a unit is; a newer word that stands already is left alone."""
    mark = Mark(position=state.position, snapshot=state.snapshot, snapshot_position=state.snapshot_position)
    there = read_mark(folder, unit)
    if there == mark or there.position > mark.position:
        return

    def fill(sink: IO[bytes]) -> None:
        sink.write(msgspec.json.encode(mark))

    path = layout.position_path(unit)
    hidden = layout.hidden_path(path, state.mark or "new")
    folder.write(hidden, fill)
    folder.rename(hidden, path)


def read_mark(folder: Folder, unit: str) -> Mark:
    """Return how far a unit is; position 0 when it has not said so yet.

    Raises:
        CorruptStateError: when what it said cannot be read.
    """
    content = folder.read(layout.position_path(unit))
    if content is None:
        return Mark(position=0)
    try:
        return msgspec.json.decode(content, type=Mark)
    except msgspec.MsgspecError as error:
        raise CorruptStateError(f"{folder.address}/{layout.position_path(unit)}", str(error)) from error


def read_marks(folder: Folder) -> dict[str, Mark]:
    """Return how far each unit is."""
    names = [name for name in folder.names(layout.POSITIONS) if not name.startswith(".")]
    return {unit: read_mark(folder, unit) for unit in (name.removesuffix(".json") for name in names)}
