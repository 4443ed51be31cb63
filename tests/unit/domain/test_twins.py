"""The answers of several shards become one view in the order of the fleet's rows."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.telemetry import TELEMETRY
from shoal.domain.twins import AskTwins, ShardAnswer, merge_answers


def answer(t_ns: int, shard: int, rows: list[int]) -> ShardAnswer:
    latest = TELEMETRY.empty(len(rows))
    latest["ts_ns"] = t_ns
    latest["battery_w"] = [100 * row for row in rows]
    whole: NDArray[np.int64] = np.array(rows, dtype=np.int64)
    return ShardAnswer(
        t_ns=t_ns, shard=shard, token=1, sites=len(rows), rows=whole.tobytes(), latest=latest.tobytes()
    )


def test_merged_answers_stand_in_the_order_of_the_fleet() -> None:
    view = merge_answers([answer(20, 1, [3, 0]), answer(10, 0, [1])], sites=5)
    assert view.t_ns == 10, "the view is no newer than its oldest part"
    assert view.latest["battery_w"].tolist() == [0, 100, 0, 300, 0]
    assert view.latest["ts_ns"].tolist() == [20, 10, 0, 20, 0], "nobody has site 2 or 4"


def test_site_that_the_asker_does_not_know_yet_is_left_out() -> None:
    view = merge_answers([answer(20, 1, [3, 0, 7])], sites=4)
    assert view.latest["ts_ns"].tolist() == [20, 0, 0, 20]


def test_merged_nothing_is_an_empty_fleet() -> None:
    view = merge_answers([], sites=2)
    assert view.t_ns == 0
    assert view.latest["ts_ns"].tolist() == [0, 0]


def test_answer_survives_the_wire() -> None:
    one = answer(20, 1, [3, 0])
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=ShardAnswer) == one


def test_question_survives_the_wire() -> None:
    for asked in (AskTwins(), AskTwins(first=7), AskTwins(rows=np.array([1, 9]).tobytes())):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(asked), type=AskTwins) == asked


def test_question_about_half_a_number_is_refused() -> None:
    payload = msgspec.msgpack.encode({"rows": b"\0" * 12})
    with pytest.raises(msgspec.ValidationError, match="whole"):
        msgspec.msgpack.decode(payload, type=AskTwins)
