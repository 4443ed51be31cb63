"""Any valid record survives the wire to the last bit, and any bytes at all either decode or say why not."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.errors import WireFormatError
from shoal.domain.telemetry import HEADER_BYTES, TELEMETRY, decode, encode

REASONS = {"too_large", "truncated", "magic", "schema_version", "length"}


@st.composite
def records(draw: st.DrawFn) -> NDArray[Any]:
    """Draw one to five records of any content."""
    count = draw(st.integers(1, 5))
    raw = draw(
        st.binary(min_size=count * TELEMETRY.dtype.itemsize, max_size=count * TELEMETRY.dtype.itemsize)
    )
    return np.frombuffer(raw, dtype=TELEMETRY.dtype)


@settings(max_examples=100, deadline=None)
@given(records(), st.integers(-(2**63), 2**63 - 1))
def test_message_survives_the_wire(content: NDArray[Any], oldest_seq: int) -> None:
    decoded, oldest = decode(encode(content, oldest_seq=oldest_seq))
    assert decoded.tobytes() == content.tobytes()
    assert oldest == oldest_seq


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_decode_or_say_why_not(noise: bytes, with_head: bool) -> None:
    payload = encode(TELEMETRY.empty(1), oldest_seq=1)[:HEADER_BYTES] + noise if with_head else noise
    try:
        decoded, _ = decode(payload)
    except WireFormatError as error:
        assert error.reason in REASONS
    else:
        assert len(payload) == HEADER_BYTES + decoded.nbytes


@settings(max_examples=100, deadline=None)
@given(records())
def test_violations_agree_with_a_loop_over_the_declaration(content: NDArray[Any]) -> None:
    found = TELEMETRY.violations(content).tolist()
    for record, at in zip(content, found, strict=True):
        bad = [
            position
            for position, column in enumerate(TELEMETRY.columns)
            if not _within(record[column.name].item(), column.low, column.high)
        ]
        assert at == (bad[0] if bad else -1)


def _within(value: float, low: float | None, high: float | None) -> bool:
    low = None if low is None else float(np.float32(low)) if low == -0.001 else low
    high = None if high is None else float(np.float32(high)) if high == 1.001 else high
    return np.isfinite(value) and (low is None or value >= low) and (high is None or value <= high)
