"""Operating envelopes of single sites, as devices are told them: each holds on the device's own clock and ends by itself.

Devices keep to the tightest of what they are told, the plant to the newest issue. So of envelopes that overlap the older one
is told only for the time that the newer one leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np

from shoal.control.desired_book import Entry
from shoal.control.schedule import AHEAD_NS
from shoal.domain.orders import Envelope
from shoal.store.limit_records import OperatingEnvelope

PREFIX: Final = "envelope:"
Pieces: TypeAlias = dict[tuple[int, int, int, int, int], list[int]]
"""Rows by start, end, issue, import limit and export limit."""


def pieces_of(envelopes: Iterable[OperatingEnvelope], row_of: Mapping[str, int]) -> Pieces:
    """Return what each site is told: the newest issue first, older ones where it says nothing.

    Args:
        envelopes: Of sites, in any order.
        row_of: Rows of the sites that are known.
    """
    found: Pieces = {}
    taken: dict[int, list[tuple[int, int]]] = {}
    for one in sorted(envelopes, key=lambda one: (-one.issued_ns, one.start_ns, one.end_ns)):
        row = row_of.get(one.target)
        if one.kind != "site" or row is None:
            continue
        spans = taken.setdefault(row, [])
        for start_ns, end_ns in _left((one.start_ns, one.end_ns), spans):
            key = (start_ns, end_ns, one.issued_ns, one.import_limit_w, one.export_limit_w)
            found.setdefault(key, []).append(row)
        spans.append((one.start_ns, one.end_ns))
    return found


def entries_of(pieces: Pieces, t_ns: int, *, stale_after_ns: int | None) -> list[Entry]:
    """Return what stands in documents for envelopes at an instant: those not over and not stale, near enough to be told."""
    return [
        Entry(
            key=f"{PREFIX}{start_ns}-{end_ns}-{issued_ns}-{import_w}-{export_w}",
            item=Envelope(start_ns=start_ns, end_ns=end_ns, import_limit_w=import_w, export_limit_w=export_w),
            end_ns=end_ns,
            rows=np.array(sorted(rows), dtype=np.int64),
        )
        for (start_ns, end_ns, issued_ns, import_w, export_w), rows in pieces.items()
        if end_ns > t_ns
        and start_ns - t_ns <= AHEAD_NS
        and (stale_after_ns is None or issued_ns >= t_ns - stale_after_ns)
    ]


def _left(span: tuple[int, int], taken: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the parts of a span that others leave."""
    parts = [span]
    for start_ns, end_ns in taken:
        parts = [
            piece
            for first_ns, last_ns in parts
            for piece in ((first_ns, min(last_ns, start_ns)), (max(first_ns, end_ns), last_ns))
            if piece[0] < piece[1]
        ]
    return parts
