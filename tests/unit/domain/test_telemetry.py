"""The telemetry table: what devices measure, and what is said of a sample."""

from __future__ import annotations

import pytest

from shoal.domain.errors import InvalidInputError
from shoal.domain.telemetry import (
    ALL_PRESENT,
    OPTIONAL,
    PRESENT_OF,
    SUSPECT,
    TELEMETRY,
    DeviceType,
    Flag,
    mask_of,
)


def test_record_in_memory_is_packed() -> None:
    assert TELEMETRY.dtype.itemsize == 76
    assert TELEMETRY.names == ("ts_ns", "seq", *OPTIONAL, "flags", "present")


def test_record_of_a_device_that_says_nothing_measures_everything() -> None:
    assert TELEMETRY.empty(1)["present"][0] == ALL_PRESENT == 2 ** len(OPTIONAL) - 1


def test_masks_of_device_types() -> None:
    assert mask_of("battery_w") == 1
    assert mask_of("export_wh", "solar_w") == 2 + 512
    assert set(PRESENT_OF) == set(DeviceType)
    assert PRESENT_OF[DeviceType.HOME] == ALL_PRESENT - mask_of("ev_w")
    assert PRESENT_OF[DeviceType.METER] == mask_of("load_w", "import_wh", "export_wh")


def test_mask_of_an_unknown_column_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="frequency_hz"):
        mask_of("load_w", "frequency_hz")


def test_a_corrected_clock_or_an_estimate_is_not_suspect() -> None:
    fine = Flag.CLOCK_CORRECTED | Flag.CLOCK_DOUBTFUL | Flag.ESTIMATED | Flag.BACKFILL
    assert not SUSPECT & fine
    assert SUSPECT | fine == sum(Flag)
