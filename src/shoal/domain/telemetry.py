"""The telemetry of a site: one declared table and the message that carries it.

A message is a 16-byte header and 1..n packed records of one site, little-endian:

    0  2  magic, b"SH"        4  2  number of records     8  8  oldest sequence number the device still holds
    2  1  version (1)         6  2  size of one record
    3  1  flags (0)

`seq` counts a device's samples from 1 without holes. The device keeps each sample until the plant has said that
it is durable; `oldest_seq` tells the plant below which number nothing will ever come (again). Energy registers are
cumulative, whole watt-hours, never reset: differences telescope, so energy over any span is exact.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import WireFormatError
from shoal.domain.table import Column, Table

MAGIC: Final = b"SH"
VERSION: Final = 1
MAX_MESSAGE_BYTES: Final = 65_536
_HEADER: Final = struct.Struct("<2sBBHHq")
HEADER_BYTES: Final = _HEADER.size


def _power(name: str, description: str) -> Column:
    limit_w = 1_000_000_000
    return Column(name=name, dtype="<i4", unit="W", low=-limit_w, high=limit_w, description=description)


def _register(name: str, description: str) -> Column:
    return Column(name=name, dtype="<i8", unit="Wh", low=0, high=2**53, description=description)


TELEMETRY: Final = Table(
    name="telemetry",
    version=VERSION,
    columns=(
        Column(
            name="ts_ns",
            dtype="<i8",
            unit="ns",
            low=0,
            optional=False,
            description="device time of the measurement, UTC since 1970",
        ),
        Column(
            name="seq",
            dtype="<i8",
            unit="1",
            low=1,
            high=2**53,
            optional=False,
            description="number of the sample, counted by the device from 1 without holes",
        ),
        _power("battery_w", "battery power, charging positive"),
        _power("solar_w", "solar power, generation negative"),
        _power("load_w", "household load without battery, solar and EV"),
        _power("ev_w", "EV charger power, charging positive"),
        Column(
            name="soc_frac",
            dtype="<f4",
            unit="1",
            low=-0.001,
            high=1.001,
            description="state of charge of the battery, 0 to 1",
        ),
        Column(
            name="command_version",
            dtype="<u4",
            unit="1",
            description="version of the desired state that the device is following; 0 for none",
        ),
        _register("charge_wh", "energy that went into the battery's terminals"),
        _register("discharge_wh", "energy that came out of the battery's terminals"),
        _register("import_wh", "energy bought from the grid"),
        _register("export_wh", "energy fed into the grid"),
    ),
)
RECORD_BYTES: Final = TELEMETRY.dtype.itemsize


def encode(records: NDArray[Any], *, oldest_seq: int) -> bytes:
    """Return one message with `records` (dtype `TELEMETRY.dtype`) of one site, oldest first."""
    return _HEADER.pack(MAGIC, VERSION, 0, len(records), RECORD_BYTES, oldest_seq) + records.tobytes()


def decode(payload: bytes | memoryview) -> tuple[NDArray[Any], int]:
    """Return the records of one binary message and its `oldest_seq`.

    Raises:
        WireFormatError: with reason ``too_large``, ``truncated``, ``magic``, ``schema_version`` or ``length``.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise WireFormatError("too_large", f"{len(payload)} bytes, at most {MAX_MESSAGE_BYTES} are taken")
    if len(payload) < HEADER_BYTES:
        raise WireFormatError("truncated", f"{len(payload)} bytes are less than the header of {HEADER_BYTES}")
    magic, version, _flags, count, size, oldest_seq = _HEADER.unpack_from(payload)
    if magic != MAGIC:
        raise WireFormatError("magic", f"begins with {bytes(magic)!r}, not {MAGIC!r}")
    if version != VERSION or size != RECORD_BYTES:
        raise WireFormatError(
            "schema_version", f"version {version}, record of {size} bytes; version {VERSION} is known"
        )
    if len(payload) != HEADER_BYTES + count * size or count == 0:
        raise WireFormatError("length", f"{len(payload)} bytes do not hold {count} records of {size}")
    return np.frombuffer(payload, dtype=TELEMETRY.dtype, offset=HEADER_BYTES), int(oldest_seq)
