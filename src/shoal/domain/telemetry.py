"""The telemetry of a site: one declared table, the quality flags of a sample, and who measures which columns.

`seq` counts a device's samples from 1 without holes. Energy registers are cumulative, whole watt-hours, never reset:
differences telescope, so energy over any span is exact. Columns that a device does not measure hold 0, and `present`
says so. How records travel is in `shoal.domain.wire`.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

from shoal.domain.errors import InvalidInputError
from shoal.domain.table import Column, Table

VERSION: Final = 2
MAX_SEQ: Final = 2**32 - 1


class Flag(IntFlag):
    """What is to be said of a sample: by the plant, and `ESTIMATED` by the device itself."""

    CLOCK_CORRECTED = 1
    """The device's clock was implausible; `ts_ns` was set right."""
    CLOCK_DOUBTFUL = 2
    """The device's clock is implausible or contradicts its count, and when the sample was taken is not certain."""
    SIGN = 4
    """A power has a sign that it cannot have."""
    STUCK = 8
    """A sensor has said the same for too long."""
    REGISTER_BACKWARDS = 16
    """An energy register is smaller than it was."""
    OVER_NAMEPLATE = 32
    """A power is beyond what is installed."""
    ESTIMATED = 64
    """The device did not measure it but says so."""
    BACKFILL = 128
    """It arrived long after it was taken."""


SUSPECT: Final = Flag.SIGN | Flag.STUCK | Flag.REGISTER_BACKWARDS | Flag.OVER_NAMEPLATE
"""Samples with any of these count neither for settlement nor in sums over fresh sites."""


class DeviceType(IntEnum):
    """What stands at a site, and so what it can measure."""

    HOME = 0
    """Battery and solar, with the household's meter."""
    EV_CHARGER = 1
    METER = 2
    BATTERY = 3


OPTIONAL: Final = (
    "battery_w",
    "solar_w",
    "load_w",
    "ev_w",
    "soc_frac",
    "command_version",
    "charge_wh",
    "discharge_wh",
    "import_wh",
    "export_wh",
)
"""The columns that a device may or may not measure; the position is the bit in `present`."""
ALL_PRESENT: Final = (1 << len(OPTIONAL)) - 1


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
            high=MAX_SEQ,
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
        Column(
            name="flags",
            dtype="<u2",
            unit="1",
            description="quality of the sample, see `Flag`; 0 for none",
        ),
        Column(
            name="present",
            dtype="<u2",
            unit="1",
            default=ALL_PRESENT,
            high=ALL_PRESENT,
            description="bit k: the device measures the k-th of the columns from `battery_w` to `export_wh`",
        ),
    ),
)
POWERS: Final = OPTIONAL[:4]
REGISTERS: Final = OPTIONAL[6:]


def mask_of(*names: str) -> int:
    """Return the mask of optional columns for `TELEMETRY`'s column `present`.

    Raises:
        InvalidInputError: when a name is not one of `OPTIONAL`.
    """
    unknown = set(names) - set(OPTIONAL)
    if unknown:
        raise InvalidInputError(
            field="columns", value=sorted(unknown), fix=f"choose from {', '.join(OPTIONAL)}"
        )
    return sum(1 << bit for bit, name in enumerate(OPTIONAL) if name in names)


PRESENT_OF: Final = {
    DeviceType.HOME: ALL_PRESENT & ~mask_of("ev_w"),
    DeviceType.EV_CHARGER: mask_of("ev_w", "command_version", "import_wh", "export_wh"),
    DeviceType.METER: mask_of("load_w", "import_wh", "export_wh"),
    DeviceType.BATTERY: mask_of("battery_w", "soc_frac", "command_version", "charge_wh", "discharge_wh"),
}
"""What a device of each type measures when nobody says otherwise."""
