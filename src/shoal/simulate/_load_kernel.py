"""The one kernel of the load generator: it stamps prepared messages with what changes from one sending to the next.

Everything else in a message stays as it was prepared, so a message costs some tens of nanoseconds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

NS_PER_MS = 1_000_000
POWER_STEPS = 4_096
"""The battery's power says the sample's number modulo this, in W: what has become visible can be read off a sum."""


class Places(NamedTuple):
    """Where in a prepared message the changing values lie.

    Attributes:
        message_bytes: Size of a message with its frame.
        base_at: The base time in ms, 8 bytes.
        records_at: The first record.
        record_bytes: Size of a record.
        records: Number of records.
        seq_at: The number of the sample within its record, 4 bytes.
        battery_at: The battery's power in W, 4 bytes.
        import_at: The low 4 bytes of the register of imported Wh.
    """

    message_bytes: int
    base_at: int
    records_at: int
    record_bytes: int
    records: int
    seq_at: int
    battery_at: int
    import_at: int


@kernel
def stamp(
    ring: NDArray[np.uint8],
    places: Places,
    first: int,
    count: int,
    first_seq: int,
    seq_step: int,
    first_ns: int,
    step_ns: float,
) -> None:
    """Stamp `count` messages of a connection from position `first` on.

    Args:
        ring: The messages of one connection, one after the other.
        places: Where the values lie.
        first: Position of the first message.
        count: How many.
        first_seq: Number of the first sample of each message.
        seq_step: 1 when a message holds samples of one site one after the other, 0 when each record is another site's.
        first_ns: When the first message is to be sent, UTC.
        step_ns: Time from one message to the next.
    """
    for i in range(count):
        at = (first + i) * places.message_bytes
        base_ms = (first_ns + int(i * step_ns)) // NS_PER_MS
        _put(ring, at + places.base_at, base_ms, 8)
        for j in range(places.records):
            record = at + places.records_at + j * places.record_bytes
            seq = first_seq + j * seq_step
            _put(ring, record + places.seq_at, seq, 4)
            _put(ring, record + places.battery_at, seq % POWER_STEPS, 4)
            _put(ring, record + places.import_at, seq, 4)


@kernel
def _put(buffer: NDArray[np.uint8], at: int, value: int, size: int) -> None:
    for i in range(size):
        buffer[at + i] = (value >> (8 * i)) & 0xFF
