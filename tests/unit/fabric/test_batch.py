"""A batch: bytes as they came, and the same messages as objects."""

from __future__ import annotations

import numpy as np

from shoal.fabric.batch import JournalBatch

MESSAGES = [(b"tele.1.a", b"one"), (b"tele.2.b", b""), (b"tele.3.c", b"three")]


def test_batch_gives_back_what_it_is_made_of() -> None:
    batch = JournalBatch.of(MESSAGES, timestamp_ns=np.array([7, 8, 9]), first_seq=41, pending=2)
    assert list(zip(batch.subjects, batch.payloads, strict=True)) == MESSAGES
    assert (len(batch), batch.seq.tolist(), batch.pending) == (3, [41, 42, 43], 2)
    assert batch.timestamp_ns.tolist() == [7, 8, 9]
    assert (batch.subject(2), batch.payload(0)) == (b"tele.3.c", b"one")


def test_batch_of_nothing() -> None:
    batch = JournalBatch.of([])
    assert (len(batch), batch.subjects, batch.payloads) == (0, [], [])
