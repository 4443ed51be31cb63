"""What the compiled code repeats of other modules must be what they say; and what is to be told to devices."""

from __future__ import annotations

import numpy as np

from shoal.domain.telemetry import ALL_PRESENT, Flag, mask_of
from shoal.twin import _apply_kernel, row, window
from tests.unit.twin.readings import Home


def test_kernel_has_the_same_numbers_as_the_modules_it_repeats() -> None:
    for flag in Flag:
        assert getattr(_apply_kernel, str(flag.name)) == flag
    assert len(Flag) == _apply_kernel.FLAGS
    for name in ("NEW", "DUPLICATE", "DEFERRED", "REFUSED", "WINDOW", "MAX_SEQ", "MOST_AHEAD"):
        assert getattr(_apply_kernel, name) == getattr(window, name)
    shared = ("IN_PARTS", "TO_TELL", "SUSPECT_SHIFT", "STILL_SHIFT", "STILL_STEPS", "BEHIND_NS", "NEVER")
    for name in shared:
        assert getattr(_apply_kernel, name) == getattr(row, name)
    for name, column in (
        ("BATTERY", "battery_w"),
        ("SOLAR", "solar_w"),
        ("LOAD", "load_w"),
        ("EV", "ev_w"),
        ("SOC", "soc_frac"),
        ("COMMAND", "command_version"),
        ("CHARGE", "charge_wh"),
        ("DISCHARGE", "discharge_wh"),
        ("IMPORT", "import_wh"),
        ("EXPORT", "export_wh"),
    ):
        assert getattr(_apply_kernel, name) == mask_of(column)
    assert _apply_kernel.COLUMNS == ALL_PRESENT


def test_device_is_told_what_is_durable_and_again_when_it_repeats_itself() -> None:
    home = Home()

    def told() -> list[tuple[int, int]]:
        rows, seqs = home.twins.newly_durable()
        return list(zip(rows.tolist(), seqs.tolist(), strict=True))

    assert told() == []
    home.hear(0.0, 10.0)
    assert told() == [(0, 2)]
    assert told() == []
    home.hear(30.0, first_seq=4)
    assert told() == [], "sample 3 is missing"
    home.hear(20.0, first_seq=3)
    assert told() == [(0, 4)]
    home.hear(20.0, first_seq=3)
    assert told() == [(0, 4)]


def test_snapshot_holds_what_was_told() -> None:
    home, again = Home(), Home()
    home.hear(0.0, load_w=5)
    home.twins.newly_durable()
    again.twins.restore(home.twins.state())
    assert len(again.twins.newly_durable()[0]) == 0
    assert again.latest == home.latest
    assert again.twins.state() is not again.twins.rows


def test_latest_of_chosen_rows_in_their_order() -> None:
    home = Home()
    assert home.latest["ts_ns"] == 0
    assert home.latest["present"] == 0
    home.hear(10.0, load_w=5)
    assert home.twins.latest(np.array([0, 0]))["load_w"].tolist() == [5, 5]
    assert home.twins.latest(np.empty(0, dtype=np.int64)).tolist() == []
