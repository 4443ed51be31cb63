"""The names of history: they alone say what there is, what replaces what, and up to which journal position.

    raw/hour=2021-02-10T06/p-<unit>-<from>-<to>.parquet      a part: made from the journal positions from..to
    raw/hour=2021-02-10T06/c-<unit>-<to>.parquet             all parts of the hour up to position `to`, as one sorted file
    rollup_5min/day=2021-02-10/h06-<unit>-<to>.parquet       means of one hour, complete up to `to`
    rollup_5min/day=2021-02-10/d-<unit>-<to>.parquet         all hours of the day as one file
    rollup_1h/day=...                                        likewise
    positions/<unit>.json                                    up to which position everything is in its place

A unit is one writer's share of the journal. Names that begin with a dot are not there yet. Which files count is a pure function
of the names, so a reader sees either the parts or what replaced them, whenever it looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, to_datetime, to_ns

from datetime import datetime  # isort: skip

RAW: Final = "raw"
POSITIONS: Final = "positions"
TIERS: Final = {"rollup_5min": 300 * 1_000_000_000, "rollup_1h": NS_PER_HOUR}
"""The roll-ups and the length of their intervals in nanoseconds."""
_UNIT: Final = r"[a-z0-9][a-z0-9_.]*"
_PART: Final = re.compile(rf"p-({_UNIT})-(\d+)-(\d+)\.parquet")
_MERGED: Final = re.compile(rf"c-({_UNIT})-(\d+)\.parquet")
_ROLLUP: Final = re.compile(rf"(?:h(\d\d)|d)-({_UNIT})-(\d+)\.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFile:
    """One file of samples, made from the positions `from_seq` to `to_seq`, both inclusive.

    A merged file has `from_seq` 0: it holds everything of its hour up to `to_seq`.
    """

    path: str
    hour: str
    unit: str
    from_seq: int
    to_seq: int

    @property
    def merged(self) -> bool:
        """Whether it replaces the parts up to its position."""
        return self.from_seq == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RollupFile:
    """One file of means of an hour, or of a whole day when `hour` is None, complete up to `to_seq`."""

    path: str
    day: str
    hour: str | None
    unit: str
    to_seq: int


def hour_name(t_ns: int) -> str:
    """Return the name of the UTC hour that the instant lies in, e.g. ``2021-02-10T06``."""
    return to_datetime(t_ns).strftime("%Y-%m-%dT%H")


def hour_start_ns(hour: str) -> int:
    """Return the instant at which a named hour begins."""
    return to_ns(datetime.fromisoformat(f"{hour}:00+00:00"))


def day_start_ns(day: str) -> int:
    """Return the instant at which a named UTC day begins."""
    return to_ns(datetime.fromisoformat(f"{day}T00:00+00:00"))


def check_unit(unit: str) -> str:
    """Return the unit's name.

    Raises:
        InvalidInputError: when a file could not be named after it.
    """
    if not re.fullmatch(_UNIT, unit):
        raise InvalidInputError(field="history unit", value=unit, fix="use a-z, 0-9, _ and .")
    return unit


def part_path(hour: str, unit: str, from_seq: int, to_seq: int) -> str:
    """Return where a part belongs."""
    return f"{RAW}/hour={hour}/p-{unit}-{from_seq}-{to_seq}.parquet"


def merged_path(hour: str, unit: str, to_seq: int) -> str:
    """Return where the merged file of an hour belongs."""
    return f"{RAW}/hour={hour}/c-{unit}-{to_seq}.parquet"


def rollup_path(tier: str, day: str, hour: str | None, unit: str, to_seq: int) -> str:
    """Return where the means of an hour, or of a day when `hour` is None, belong."""
    lead = "d" if hour is None else f"h{hour[-2:]}"
    return f"{tier}/day={day}/{lead}-{unit}-{to_seq}.parquet"


def position_path(unit: str) -> str:
    """Return where a unit says how far it is."""
    return f"{POSITIONS}/{unit}.json"


def hidden_path(path: str, mark: str) -> str:
    """Return the name of a file that is not there yet; `mark` tells writers apart."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name}.{mark}"


def raw_files(tree: Mapping[str, Iterable[str]]) -> list[RawFile]:
    """Return the files of samples in a listing (names by folder below ``raw``), by hour and position."""
    found: list[RawFile] = []
    for folder, names in tree.items():
        key, _, hour = folder.partition("=")
        for name in names if key == "hour" else ():
            path = f"{RAW}/{folder}/{name}"
            if part := _PART.fullmatch(name):
                unit, low, high = part[1], int(part[2]), int(part[3])
                found.append(RawFile(path=path, hour=hour, unit=unit, from_seq=low, to_seq=high))
            elif merged := _MERGED.fullmatch(name):
                found.append(RawFile(path=path, hour=hour, unit=merged[1], from_seq=0, to_seq=int(merged[2])))
    return sorted(found, key=lambda file: (file.hour, file.unit, file.from_seq, file.to_seq))


def rollup_files(tier: str, tree: Mapping[str, Iterable[str]]) -> list[RollupFile]:
    """Return the files of means in a listing (names by folder below `tier`), by day, hour and position."""
    found: list[RollupFile] = []
    for folder, names in tree.items():
        key, _, day = folder.partition("=")
        for name in names if key == "day" else ():
            if match := _ROLLUP.fullmatch(name):
                hour = f"{day}T{match[1]}" if match[1] else None
                path = f"{tier}/{folder}/{name}"
                found.append(RollupFile(path=path, day=day, hour=hour, unit=match[2], to_seq=int(match[3])))
    return sorted(found, key=lambda file: (file.day, file.hour or "", file.unit, file.to_seq))


def visible(files: Iterable[RawFile], up_to: Mapping[str, int] | None = None) -> list[RawFile]:
    """Return the files that count: of each hour and unit the newest merged one, and the parts after it.

    Args:
        files: As `raw_files` returns them.
        up_to: For each unit the last position wanted; files that reach beyond it, and units not named, are left out.
    """
    wanted = [f for f in files if up_to is None or f.to_seq <= up_to.get(f.unit, -1)]
    newest = {(f.hour, f.unit): f for f in wanted if f.merged}  # sorted: the last one is the newest
    return [
        f
        for f in wanted
        if (top := newest.get((f.hour, f.unit))) is None
        or f is top
        or (not f.merged and f.from_seq > top.to_seq)
    ]


def visible_rollups(files: Iterable[RollupFile]) -> list[RollupFile]:
    """Return the files that count: of each day and unit the newest whole day, else the newest of each hour."""
    listed = list(files)
    days = {(f.day, f.unit): f for f in listed if f.hour is None}
    hours = {(f.hour, f.unit): f for f in listed if f.hour is not None and (f.day, f.unit) not in days}
    return sorted([*days.values(), *hours.values()], key=lambda file: file.path)
