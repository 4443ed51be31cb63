"""The samples of history as a Delta Lake table, for machines that share one store and tools that read Delta.

The table's log decides what is there: an append carries the unit and its journal position as an application transaction, so it
happens once, and of two writers of a unit the log refuses the second. Partitioned by hour and unit, packed as the Parquet parts
are; roll-ups stay Parquet beside it. Needs the extra ``delta``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.domain.interval import NS_PER_HOUR
from shoal.store import history_layout as layout
from shoal.store.history_folder import Folder
from shoal.store.history_layout import RawFile
from shoal.store.history_merge import sorted_blocks
from shoal.store.history_register import Register, UnitState
from shoal.store.history_schema import MIN_GROUP_ROWS, SCHEMA, hour_order, to_stored
from shoal.store.history_table import EARLY_PARTS
from shoal.store.history_write import Mark, Samples, read_marks, write_mark

try:
    import deltalake
    from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
except ImportError as missing:
    raise UnavailableError("Delta Lake", "install shoal[delta]") from missing

_SIGNED: Final = {"uint16": pa.int32(), "uint32": pa.int64()}
DELTA_SCHEMA: Final = pa.schema(
    [
        *(pa.field(f.name, _SIGNED.get(str(f.type), f.type), nullable=f.nullable) for f in SCHEMA),
        pa.field("to_seq", pa.int64(), nullable=False),
        pa.field("hour", pa.string(), nullable=False),
        pa.field("unit", pa.string(), nullable=False),
    ]
)
"""The table: the columns of a part, the last journal position of its write, and the partitions."""
_PARTITIONS: Final = ["hour", "unit"]


class DeltaSamples:
    """The table below ``raw`` of a folder: a `RawTable` for readers and the keeper.

    Args:
        folder: Where history lives.
        storage_options: What the store takes, such as an endpoint; the environment's when None.
    """

    def __init__(self, folder: Folder, storage_options: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._uri = f"{folder.address}/{layout.RAW}"
        self._options = dict(storage_options) if storage_options else None

    def open(self) -> deltalake.DeltaTable:
        """Return the table as it is now; it is made when it is not there.

        Raises:
            UnavailableError: when the store cannot be reached.
        """
        with translated(self._uri):
            try:
                return deltalake.DeltaTable(self._uri, storage_options=self._options)
            except TableNotFoundError:
                return deltalake.DeltaTable.create(
                    self._uri,
                    deltalake.Schema.from_arrow(DELTA_SCHEMA),
                    mode="ignore",
                    partition_by=_PARTITIONS,
                    name="telemetry",
                    storage_options=self._options,
                )

    def files(self, *, folders: Callable[[str], bool] | None = None, settled: bool = False) -> list[RawFile]:
        """See `RawTable`: what the log names is there."""
        with translated(self._uri):
            try:
                table = deltalake.DeltaTable(self._uri, storage_options=self._options)
            except TableNotFoundError:
                return []
            return _files(table, folders)

    def marked(self) -> tuple[dict[str, Mark], list[RawFile]]:
        """See `RawTable`: one version of the log holds both."""
        marks = read_marks(self._folder)
        table = self.open()
        ahead = {
            unit: msgspec.structs.replace(mark, position=max(mark.position, appended_to(table, unit)))
            for unit, mark in marks.items()
        }
        return ahead, _files(table, None)

    def merge_due(self, hour: list[RawFile], *, settled: bool, now: bool) -> bool:
        """See `RawTable`."""
        return len(hour) > (1 if settled or now else EARLY_PARTS)

    def merge(self, hour: list[RawFile]) -> int:
        """See `RawTable`: one commit takes the old files out and the new one in."""
        last = hour[-1]
        table = self.open()
        # the commit takes out every file of the hour in this version, also one that was appended after the listing
        files = [f for f in _files(table, lambda name: name == f"hour={last.hour}") if f.unit == last.unit]
        to_seq = max((f.to_seq for f in files), default=0)
        rows = 0

        def blocks() -> Iterator[pa.RecordBatch]:
            nonlocal rows
            for block in sorted_blocks(self._folder, [f.path for f in files]):
                rows += len(block)
                yield from _partitioned(block.select(SCHEMA.names), to_seq, last.hour, last.unit).to_batches()

        with translated(self._uri):
            deltalake.write_deltalake(
                table,
                pa.RecordBatchReader.from_batches(DELTA_SCHEMA, blocks()),
                mode="overwrite",
                predicate=f"hour = '{last.hour}' AND unit = '{last.unit}'",
                writer_properties=_writer_properties(),
            )
        return rows

    def expire(self, hours: Iterable[str]) -> None:
        """See `RawTable`."""
        listed = ", ".join(f"'{hour}'" for hour in hours)
        if listed:
            with translated(self._uri):
                self.open().delete(f"hour IN ({listed})")

    def clean(self, grace_s: float) -> int:
        """See `RawTable`."""
        with translated(self._uri):
            removed = self.open().vacuum(
                retention_hours=int(-(-grace_s // 3_600)), dry_run=False, enforce_retention_duration=False
            )
            return len(removed)


class DeltaWriter:
    """Writes the samples of one unit as appends to a Delta table.

    Args:
        folder: Where history lives.
        unit: The unit's name.
        register: The unit's register, owned; here it holds the window, while the log holds the position.
        storage_options: See `DeltaSamples`.
    """

    def __init__(
        self,
        folder: Folder,
        unit: str,
        register: Register,
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = folder
        self._unit = layout.check_unit(unit)
        self._register = register
        self._samples = DeltaSamples(folder, storage_options)
        self._table: deltalake.DeltaTable | None = None
        self._position = 0

    async def recover(self) -> UnitState:
        """See `Writer`: an append that the register has not heard of counts."""
        state = UnitState.decode(self._register.state)
        self._table = await asyncio.to_thread(self._samples.open)
        self._position = max(state.position, appended_to(self._table, self._unit))
        return msgspec.structs.replace(state, position=self._position)

    async def write(self, samples: Samples, state: UnitState) -> UnitState:
        """See `Writer`.

        Raises:
            FencedOutError: when another owns the unit; its own writes begin where this one ended.
            UnavailableError: when another wrote meanwhile, or the store did not answer: recover before anything else.
            InvalidInputError: when the position runs backwards.
        """
        if state.position < self._position or (len(samples) and state.position == self._position):
            raise InvalidInputError(
                field="position", value=state.position, fix=f"give one above {self._position}"
            )
        before = UnitState.decode(self._register.state)
        committed = msgspec.structs.replace(
            state, from_position=self._position + 1, files=0, mark="", rows=before.rows + len(samples)
        )
        if len(samples):
            await asyncio.to_thread(self._append, samples, state.position)
        self._position = state.position
        await self._register.commit(committed.encode())
        await asyncio.to_thread(write_mark, self._folder, self._unit, committed)
        return committed

    def _append(self, samples: Samples, to_seq: int) -> None:
        order, hour = hour_order(samples.records["ts_ns"], samples.site_no)
        stored = to_stored(samples.records[order], samples.site_no[order], samples.arrival_ns[order])
        number, position = np.unique(hour[order], return_inverse=True)
        names = [layout.hour_name(int(one) * NS_PER_HOUR) for one in number]
        hours = pa.DictionaryArray.from_arrays(pa.array(position, pa.int32()), pa.array(names)).cast(
            pa.string()
        )
        # the handle is of the last append: one by another owner since then is a conflict, and refused
        if self._table is None:
            raise UnavailableError(f"history unit {self._unit}", "it is to be recovered first")
        with translated(f"{self._folder.address}/{layout.RAW}"):
            deltalake.write_deltalake(
                self._table,
                _partitioned(stored, to_seq, hours, self._unit),
                mode="append",
                writer_properties=_writer_properties(),
                commit_properties=deltalake.CommitProperties(
                    app_transactions=[deltalake.Transaction(_app_id(self._unit), to_seq)]
                ),
            )


def appended_to(table: deltalake.DeltaTable, unit: str) -> int:
    """Return the journal position of a unit's last append in this version of the table."""
    return int(table.transaction_version(_app_id(unit)) or 0)


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Say in the project's words that a Delta table refuses, or cannot be reached."""
    try:
        yield
    except CommitFailedError as error:
        raise UnavailableError(f"history {uri}", f"another wrote at the same time: {error}") from error
    except (DeltaError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise UnavailableError(f"history {uri}", str(error)) from error


def _app_id(unit: str) -> str:
    return f"shoal-{unit}"


def _files(table: deltalake.DeltaTable, folders: Callable[[str], bool] | None) -> list[RawFile]:
    actions = pa.table(table.get_add_actions(flatten=True))
    if not len(actions):
        return []
    columns = (
        actions[name].to_pylist() for name in ("path", "partition.hour", "partition.unit", "max.to_seq")
    )
    found = [
        RawFile(path=f"{layout.RAW}/{path}", hour=hour, unit=unit, from_seq=1, to_seq=int(to_seq))
        for path, hour, unit, to_seq in zip(*columns, strict=True)
        if folders is None or folders(f"hour={hour}")
    ]
    return sorted(found, key=lambda file: (file.hour, file.unit, file.to_seq, file.path))


def _partitioned(stored: pa.Table, to_seq: int, hour: Any, unit: str) -> pa.Table:
    rows = len(stored)
    hours = pa.repeat(pa.scalar(hour), rows) if isinstance(hour, str) else hour
    table = stored.append_column("to_seq", pa.repeat(pa.scalar(to_seq, pa.int64()), rows))
    table = table.append_column("hour", hours).append_column("unit", pa.repeat(pa.scalar(unit), rows))
    return table.cast(DELTA_SCHEMA)


def _writer_properties() -> deltalake.WriterProperties:
    packed = deltalake.ColumnProperties(dictionary_enabled=False, encoding="DELTA_BINARY_PACKED")
    names = [f.name for f in DELTA_SCHEMA if pa.types.is_integer(f.type)]
    return deltalake.WriterProperties(
        compression="ZSTD",
        compression_level=1,
        max_row_group_size=MIN_GROUP_ROWS,
        column_properties=dict.fromkeys(names, packed),
    )
