"""The answers of several shards become one view in the order of the fleet's rows."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.telemetry import TELEMETRY
from shoal.domain.twins import ShardAnswer, merge_answers


def answer(t_ns: int, shard: int, rows: list[int]) -> ShardAnswer:
    latest = TELEMETRY.empty(len(rows))
    latest["ts_ns"] = t_ns
    latest["battery_w"] = [100 * row for row in rows]
    whole: NDArray[np.int64] = np.array(rows, dtype=np.int64)
    return ShardAnswer(t_ns=t_ns, shard=shard, rows=whole.tobytes(), latest=latest.tobytes())


def test_merged_answers_stand_in_the_order_of_the_fleet() -> None:
    view = merge_answers([answer(20, 1, [3, 0]), answer(10, 0, [1])], sites=5)
    assert view.t_ns == 10, "the view is no newer than its oldest part"
    assert view.latest["battery_w"].tolist() == [0, 100, 0, 300, 0]
    assert view.latest["ts_ns"].tolist() == [20, 10, 0, 20, 0], "nobody has site 2 or 4"


def test_merged_nothing_is_an_empty_fleet() -> None:
    view = merge_answers([], sites=2)
    assert view.t_ns == 0
    assert view.latest["ts_ns"].tolist() == [0, 0]


def test_answer_survives_the_wire() -> None:
    one = answer(20, 1, [3, 0])
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=ShardAnswer) == one
