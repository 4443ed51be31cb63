"""The outbox against the plainest model: a bounded list for each site."""

from __future__ import annotations

from collections import deque

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.telemetry import TELEMETRY
from shoal.domain.wire import decode
from shoal.edge.outbox import Outbox

SITES = 2
ACTION = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 90), st.just(0)),
    st.tuples(st.just("durable"), st.integers(0, SITES - 1), st.integers(-5, 400)),
    st.tuples(st.just("restart"), st.just(0), st.just(0)),
)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 150), st.lists(ACTION, max_size=12))
def test_outbox_holds_what_a_bounded_list_would(capacity: int, actions: list[tuple[str, int, int]]) -> None:
    outbox = Outbox(SITES, capacity)
    model: list[deque[int]] = [deque() for _ in range(SITES)]
    last, lost = 0, [0] * SITES
    for action, first, second in actions:
        if action == "add":
            for _ in range(first):
                last += 1
                records = TELEMETRY.empty(SITES)
                records["load_w"] = last
                outbox.add(records)
                for row, held in enumerate(model):
                    held.append(last)
                    if len(held) > capacity:
                        held.popleft()
                        lost[row] += 1
        elif action == "durable":
            outbox.durable(first, second)
            while model[first] and model[first][0] <= second:
                model[first].popleft()
        else:
            state = outbox.state()
            outbox = Outbox(SITES, capacity)
            outbox.restore(state)
        for row, held in enumerate(model):
            records = outbox.unsent(row)
            assert records["seq"].tolist() == records["load_w"].tolist() == list(held)
            assert outbox.oldest_seq[row] == (held[0] if held else last + 1)
            sent = [decode(message)[0]["seq"] for message in outbox.messages_since(row, 0)]
            assert np.concatenate(sent).tolist() == list(held) if held else sent == []
    assert outbox.lost_by_overflow.tolist() == lost
    assert outbox.allocated_bytes <= SITES * max(capacity, 1) * TELEMETRY.dtype.itemsize
