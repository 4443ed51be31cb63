"""Facts as bytes: a few as plain records that can be laid side by side, many as columns in as few bytes as they need.

A column of whole numbers is kept as one number, as a run with one step, as offsets, as differences or as numbers of a
dictionary, whichever is shortest; values that are decimal fractions are kept as whole numbers. Every number comes
back bit for bit, and a checksum tells when a block is damaged.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError
from shoal.store.facts_columns import INTEGERS, Columns, Floats, Ints, Part
from shoal.store.facts_records import Slice

PACK_FROM: Final = 32
"""So many facts are worth being packed."""
MOST_REVISION: Final = (1 << 31) - 1

_HEAD: Final = struct.Struct("<2sBBIIH2x")  # magic, version, kind, checksum of the rest, facts, values a fact
_SHAPE: Final = struct.Struct("<BIH")
_COLUMN: Final = struct.Struct(
    "<BBBBIqqq"
)  # code, bytes a number, decimals, flags, bytes, base, scale, absent
_MAGIC: Final = b"SF"
_VERSION: Final = 1
_LOOSE, _PACKED = 0, 1
_ONE, _RUN, _OFFSETS, _DIFFERENCES, _DICTIONARY, _DOUBLES, _SINGLES = range(7)
_RELATIVE, _ABSENT = 1, 2
_PLACES: Final = {name: place for place, name in enumerate(INTEGERS)}
_UNSIGNED: Final = {each: np.dtype(f"<u{each}") for each in (1, 2, 4, 8)}
_BINARY: Final = 255
_MOST_DECIMALS: Final = 6
_MOST_EXACT: Final = float(1 << 53)
_MOST_IN_DICTIONARY: Final = 1 << 16
_WIDEST: Final = 1 << 62


@lru_cache(maxsize=64)
def _record(width: int) -> np.dtype[Any]:
    return np.dtype([*((name, "<i8") for name in INTEGERS), ("value", "<f8", (width,))])


def pack(columns: Columns) -> bytes:
    """Return facts, in the order (start, revision, known), as the bytes of a block."""
    count, width = columns.value.shape
    if count < PACK_FROM:
        records = np.empty(count, dtype=_record(width))
        for name in (*INTEGERS, "value"):
            records[name] = getattr(columns, name)
        kind, body = _LOOSE, records.tobytes()
    else:
        relative_ns = columns.known_ns - columns.start_ns
        known = min(_whole(columns.known_ns), _whole(relative_ns, flags=_RELATIVE), key=len)
        parts = {
            name: _whole(getattr(columns, name)) for name in INTEGERS if name not in ("end_ns", "known_ns")
        }
        parts |= {"end_ns": _whole(columns.end_ns - columns.start_ns, flags=_RELATIVE), "known_ns": known}
        values = [_fraction(columns.value[:, number]) for number in range(width)]
        kind, body = _PACKED, b"".join([*(parts[name] for name in INTEGERS), *values])
    return _HEAD.pack(_MAGIC, _VERSION, kind, _checksum(body, kind, count, width), count, width) + body


def unpack(payloads: Iterable[bytes], *, where: str) -> list[Part]:
    """Return the facts of one series from its blocks; those of plain records as one part.

    Args:
        payloads: Blocks, in any order.
        where: What they are, for people.

    Raises:
        CorruptStateError: when a block is damaged.
    """
    packed: list[Part] = []
    loose: dict[int, list[bytes]] = {}
    for payload in payloads:
        kind, count, width = _checked(payload, where)
        if kind == _LOOSE:
            loose.setdefault(width, []).append(payload[_HEAD.size :])
        else:
            packed.append(PackedPart(payload, count, width))
    for width, bodies in loose.items():
        records = np.frombuffer(b"".join(bodies), dtype=_record(width))
        columns = {name: records[name].astype(np.int64) for name in INTEGERS}
        packed.append(Columns(**columns, value=records["value"].astype(np.float64)).ordered())
    return packed


def _checked(payload: bytes, where: str) -> tuple[int, int, int]:
    if len(payload) < _HEAD.size:
        raise CorruptStateError(where, "a block of facts is cut off")
    magic, version, kind, checksum, count, width = _HEAD.unpack_from(payload)
    if magic != _MAGIC or version != _VERSION or kind not in (_LOOSE, _PACKED):
        raise CorruptStateError(where, "a block of facts is of no known form")
    if _checksum(memoryview(payload)[_HEAD.size :], kind, count, width) != checksum:
        raise CorruptStateError(where, "the checksum of a block of facts is wrong")
    return kind, count, width


def _checksum(body: bytes | memoryview, kind: int, count: int, width: int) -> int:
    return zlib.crc32(body, zlib.crc32(_SHAPE.pack(kind, count, width)))


class PackedPart:
    """A packed block; a column is unpacked when it is asked for. Rows are given by number, or all."""

    __slots__ = ("_count", "_headers", "_payload", "_whole", "_width")

    def __init__(self, payload: bytes, count: int, width: int) -> None:
        self._payload, self._count, self._width = payload, count, width
        self._headers: list[tuple[int, ...]] = []
        self._whole: dict[str, Ints] = {}
        at = _HEAD.size
        for _ in range(len(INTEGERS) + width):
            header = _COLUMN.unpack_from(payload, at)
            at += _COLUMN.size
            self._headers.append((*header, at))
            at += header[4]

    def __len__(self) -> int:
        return self._count

    @property
    def start_ns(self) -> Ints:
        """N starts, ascending."""
        return self._column("start_ns")

    @property
    def known_ns(self) -> Ints:
        """N instants."""
        return self._column("known_ns")

    @property
    def record_no(self) -> Ints:
        """N numbers of records."""
        return self._column("record_no")

    def take(self, rows: Ints | slice) -> Columns:
        """Return some of the facts."""
        return Columns(**{name: self._some(name, rows) for name in INTEGERS}, value=self._values(rows))

    def answer(self, rows: Ints) -> Slice:
        """Return some of the facts as they are given out."""
        return Slice(
            start_ns=self._some("start_ns", rows),
            end_ns=self._some("end_ns", rows),
            value=self._values(rows),
            known_ns=self._some("known_ns", rows),
            revision=self._some("revision", rows),
        )

    def _column(self, name: str) -> Ints:
        found = self._whole.get(name)
        if found is None:
            found = self._whole[name] = self._some(name, slice(None))
        return found

    def _some(self, name: str, rows: Ints | slice) -> Ints:
        found = self._whole.get(name)
        if found is not None:
            return found[rows]
        header = self._headers[_PLACES[name]]
        numbers = self._numbers(header, rows)
        return numbers + self.start_ns[rows] if header[3] & _RELATIVE else numbers

    def _values(self, rows: Ints | slice) -> Floats:
        columns = [self._value(header, rows) for header in self._headers[len(INTEGERS) :]]
        return columns[0][:, None] if self._width == 1 else np.column_stack(columns)

    def _value(self, header: tuple[int, ...], rows: Ints | slice) -> Floats:
        code, _, decimals, flags, _, _, _, absent, at = header
        if code in (_DOUBLES, _SINGLES):
            kind = "<f8" if code == _DOUBLES else "<f4"
            return np.frombuffer(self._payload, kind, self._count, at)[rows].astype(np.float64)
        numbers = self._numbers(header, rows)
        value = numbers / 10.0**decimals
        if flags & _ABSENT:
            value[numbers == absent] = np.nan
        return value

    def _numbers(self, header: tuple[int, ...], rows: Ints | slice) -> Ints:
        code, each, _, _, _, base, scale, _, at = header
        count = self._count
        if code == _OFFSETS:
            numbers = np.frombuffer(self._payload, _UNSIGNED[each], count, at)[rows].astype(np.int64)
            numbers *= scale
            numbers += base
            return numbers
        if code == _DIFFERENCES:
            steps = np.frombuffer(self._payload, _UNSIGNED[each], count - 1, at)
            numbers = np.empty(count, dtype=np.int64)
            numbers[0] = 0
            np.cumsum(steps, dtype=np.int64, out=numbers[1:])
            numbers *= scale
            numbers += base
            return numbers[rows]
        if code == _DICTIONARY:
            words = np.frombuffer(self._payload, "<i8", scale, at)
            codes = np.frombuffer(self._payload, _UNSIGNED[each], count, at + 8 * scale)
            found: Ints = words[codes[rows]].astype(np.int64, copy=False)
            return found
        some = count if isinstance(rows, slice) else len(rows)
        if code == _ONE:
            return np.full(some, base, dtype=np.int64)
        run = np.arange(count, dtype=np.int64) if isinstance(rows, slice) else rows
        return base + scale * run


def _whole(numbers: Ints, *, decimals: int = _BINARY, flags: int = 0, absent: int = 0) -> bytes:
    """Return whole numbers, at least one, in the shortest of the forms."""
    low, high = int(numbers.min()), int(numbers.max())

    def column(code: int, each: int = 0, base: int = low, scale: int = 0, body: bytes = b"") -> bytes:
        return _COLUMN.pack(code, each, decimals, flags, len(body), base, scale, absent) + body

    if low == high:
        return column(_ONE)
    if high - low >= _WIDEST:  # differences would overflow
        return column(_OFFSETS, 8, 0, 1, numbers.astype("<i8").tobytes())
    steps = np.diff(numbers)
    if bool((steps == steps[0]).all()):
        return column(_RUN, base=int(numbers[0]), scale=int(steps[0]))
    scale = int(np.gcd.reduce(steps))
    offsets = (numbers - low) // scale
    each = _bytes_for((high - low) // scale)
    forms = [(len(numbers) * each, _OFFSETS)]
    if int(steps.min()) >= 0:
        forms.append(((len(numbers) - 1) * _bytes_for(int(steps.max()) // scale), _DIFFERENCES))
    if each > 1:
        words, codes = np.unique(numbers, return_inverse=True)
        if len(words) <= _MOST_IN_DICTIONARY:
            forms.append((8 * len(words) + len(numbers) * _bytes_for(len(words) - 1), _DICTIONARY))
    form = min(forms)[1]
    if form == _OFFSETS:
        return column(_OFFSETS, each, low, scale, _unsigned(offsets, each))
    if form == _DIFFERENCES:
        each = _bytes_for(int(steps.max()) // scale)
        return column(_DIFFERENCES, each, int(numbers[0]), scale, _unsigned(steps // scale, each))
    each = _bytes_for(len(words) - 1)
    return column(_DICTIONARY, each, 0, len(words), words.astype("<i8").tobytes() + _unsigned(codes, each))


def _fraction(values: Floats) -> bytes:
    """Return values as whole numbers of a decimal place when that gives them back bit for bit, else as they are."""
    absent = np.isnan(values)
    finite = np.where(absent, 0.0, values)
    if not bool((np.signbit(finite) & (finite == 0.0)).any() | np.isinf(finite).any()):
        for decimals in range(_MOST_DECIMALS + 1):
            scaled = np.rint(finite * 10.0**decimals)
            if float(np.abs(scaled).max()) >= _MOST_EXACT:
                break
            if bool((scaled / 10.0**decimals == finite).all()):
                numbers = scaled.astype(np.int64)
                if not absent.any():
                    return _whole(numbers, decimals=decimals)
                mark = int(numbers.max()) + 1
                numbers[absent] = mark
                return _whole(numbers, decimals=decimals, flags=_ABSENT, absent=mark)
    # A NaN is a NaN: what else its bits may hold says nothing.
    plain = np.where(absent, np.nan, values)
    short = plain.astype("<f4", casting="same_kind") if float(np.abs(finite).max()) < 1e38 else None
    if short is not None and np.array_equal(short.astype(np.float64), plain, equal_nan=True):
        return _COLUMN.pack(_SINGLES, 4, _BINARY, 0, short.nbytes, 0, 0, 0) + short.tobytes()
    return _COLUMN.pack(_DOUBLES, 8, _BINARY, 0, plain.nbytes, 0, 0, 0) + plain.astype("<f8").tobytes()


def _bytes_for(most: int) -> int:
    return next(each for each in (1, 2, 4, 8) if most < 1 << (8 * each))


def _unsigned(numbers: NDArray[Any], each: int) -> bytes:
    return numbers.astype(_UNSIGNED[each]).tobytes()
