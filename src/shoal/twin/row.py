"""The row of a twin: all that is remembered of one site in 64 bytes, so that an update touches one line of memory.

It is exact for milliseconds, whole watts, watt-hours up to 2^36 (beyond, whole kilowatt-hours), and for a state of charge
to a sixty-thousandth, which keeps every ten-thousandth of the wire as it is. The history keeps what was sent.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_S

TWIN: Final = np.dtype(
    [
        ("ms_low", "<u4"),  # device time of the newest sample in ms since 1970, as corrected; 0: never heard
        ("ms_high", "<u2"),
        ("ahead", "<u2"),  # the newest sample is number base + ahead
        ("base", "<u4"),  # number up to which all samples are in
        ("mask", "<u4"),  # bit k: sample base + 1 + k is in
        ("command_version", "<u4"),
        ("battery_w", "<i4"),
        ("solar_w", "<i4"),
        ("load_w", "<i4"),
        ("ev_w", "<i4"),
        (
            "charge_low",
            "<u4",
        ),  # registers: 32 low bits each, and 4 high bits each in `high`, charge the lowest
        ("discharge_low", "<u4"),
        ("import_low", "<u4"),
        ("export_low", "<u4"),
        ("high", "<u2"),
        ("soc", "<u2"),
        ("present", "<u2"),  # bits 0-9: columns measured so far; 10-13: register is in kWh; 14, 15: see below
        (
            "flags",
            "<u2",
        ),  # bits 0-7: `Flag` of the newest sample; 8-11: suspect signals; 12-15: time of standing still
        ("battery_behind", "u1"),  # how much older than the newest sample a signal is, in `BEHIND_NS`
        ("solar_behind", "u1"),
        ("load_behind", "u1"),
        ("ev_behind", "u1"),
    ]
)
"""One twin; naturally aligned although packed."""

BEHIND_NS: Final = 4 * NS_PER_S
NEVER: Final = 255
"""In place of how far a signal is behind: it is unknown, or it never came."""
IN_PARTS: Final = 1 << 14
"""Bit of `present`: the device sends some of its columns now and others later."""
TO_TELL: Final = 1 << 15
"""Bit of `present`: the device is to be told (again) up to which number its samples are complete."""
SUSPECT_SHIFT: Final = 8
STILL_SHIFT: Final = 12
STILL_STEPS: Final = 14
"""Values stand still too long when they do so in as many steps of time, each with at least one sample."""

_LINE_BYTES: Final = 64


def new_rows(sites: int) -> NDArray[Any]:
    """Return rows of twins that never heard anything, each on a line of memory of its own."""
    room = np.zeros((sites + 1) * TWIN.itemsize, dtype=np.uint8)
    start = -room.ctypes.data % _LINE_BYTES
    rows: NDArray[Any] = room[start : start + sites * TWIN.itemsize].view(TWIN)
    for name in ("battery_behind", "solar_behind", "load_behind", "ev_behind"):
        rows[name] = NEVER
    return rows
