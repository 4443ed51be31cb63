"""The names of history say which files count, whatever else lies beside them."""

from __future__ import annotations

import pytest

from shoal.domain.errors import InvalidInputError
from shoal.store import history_layout as layout

_HOUR = "hour=2021-02-10T06"


def _visible(*names: str, up_to: dict[str, int] | None = None) -> list[str]:
    files = layout.visible(layout.raw_files({_HOUR: names}), up_to)
    return sorted(file.path.rpartition("/")[2] for file in files)


def test_visible_takes_every_part_until_they_are_merged() -> None:
    assert _visible("p-a-1-9.parquet", "p-a-10-12.parquet") == ["p-a-1-9.parquet", "p-a-10-12.parquet"]
    assert _visible("p-a-1-9.parquet", "p-a-10-12.parquet", "c-a-12.parquet") == ["c-a-12.parquet"]


def test_visible_takes_late_parts_beside_the_newest_merged_file() -> None:
    names = ("p-a-1-9.parquet", "c-a-12.parquet", "p-a-10-12.parquet", "c-a-30.parquet", "p-a-31-40.parquet")
    assert _visible(*names) == ["c-a-30.parquet", "p-a-31-40.parquet"]


def test_visible_keeps_units_apart() -> None:
    assert _visible("p-a-1-9.parquet", "c-b-20.parquet", "p-b-1-20.parquet") == [
        "c-b-20.parquet",
        "p-a-1-9.parquet",
    ]


def test_visible_leaves_out_what_is_not_there_yet_or_nobody_wrote() -> None:
    assert _visible(".p-a-1-9.parquet.3", "notes.txt", "p-a-1.parquet", "shard-0-1-9.parquet") == []


def test_visible_up_to_a_position_leaves_out_what_reaches_beyond() -> None:
    names = ("c-a-12.parquet", "p-a-13-20.parquet", "p-b-1-5.parquet")
    assert _visible(*names, up_to={"a": 12}) == ["c-a-12.parquet"]
    assert _visible(*names, up_to={"a": 20, "b": 4}) == ["c-a-12.parquet", "p-a-13-20.parquet"]


def test_visible_rollups_take_the_day_for_its_hours() -> None:
    tree = {
        "day=2021-02-10": ["h06-a-9.parquet", "h06-a-12.parquet", "h07-a-9.parquet", "h07-b-3.parquet"],
        "day=2021-02-11": ["h00-a-50.parquet", "d-a-40.parquet", "d-a-44.parquet", ".d-a-60.parquet.x"],
    }
    files = layout.visible_rollups(layout.rollup_files("rollup_1h", tree))
    assert [file.path for file in files] == [
        "rollup_1h/day=2021-02-10/h06-a-12.parquet",
        "rollup_1h/day=2021-02-10/h07-a-9.parquet",
        "rollup_1h/day=2021-02-10/h07-b-3.parquet",
        "rollup_1h/day=2021-02-11/d-a-44.parquet",
    ]


def test_names_are_read_back_as_they_were_made() -> None:
    path = layout.part_path("2021-02-10T06", "history", 3, 9)
    (file,) = layout.raw_files({_HOUR: [path.rpartition("/")[2]]})
    assert (file.path, file.unit, file.from_seq, file.to_seq, file.merged) == (path, "history", 3, 9, False)
    path = layout.merged_path("2021-02-10T06", "history", 9)
    (file,) = layout.raw_files({_HOUR: [path.rpartition("/")[2]]})
    assert (file.path, file.to_seq, file.merged) == (path, 9, True)
    assert layout.hidden_path(path, "7") == f"raw/{_HOUR}/.c-history-9.parquet.7"
    assert layout.hour_name(layout.hour_start_ns("2021-02-10T06")) == "2021-02-10T06"


def test_check_unit_refuses_what_makes_no_name() -> None:
    with pytest.raises(InvalidInputError):
        layout.check_unit("a-b")
