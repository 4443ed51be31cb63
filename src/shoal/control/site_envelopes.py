"""Operating envelopes of single sites, as devices are told them: each holds on the device's own clock and ends by itself.

Devices keep to the tightest of what they are told, the plant to the newest issue. So of envelopes that overlap the older one
is told only for the time that the newer one leaves.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
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
        for start_ns, end_ns in _take(taken.setdefault(row, []), one.start_ns, one.end_ns):
            key = (start_ns, end_ns, one.issued_ns, one.import_limit_w, one.export_limit_w)
            found.setdefault(key, []).append(row)
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


def _take(taken: list[tuple[int, int]], start_ns: int, end_ns: int) -> list[tuple[int, int]]:
    """Return the parts of a span that others leave, and let it be taken too; `taken` is ascending, nothing in it touches.

    Thousands may be issued for one site, mostly one after another: only those that a span meets are looked at.
    """
    first = bisect_left(taken, start_ns, key=lambda one: one[1])
    last = bisect_right(taken, end_ns, key=lambda one: one[0])
    parts, at_ns = [], start_ns
    for begin_ns, over_ns in taken[first:last]:
        if at_ns < begin_ns:
            parts.append((at_ns, begin_ns))
        at_ns = max(at_ns, over_ns)
    if at_ns < end_ns:
        parts.append((at_ns, end_ns))
    met = taken[first:last]
    whole = (min(start_ns, met[0][0]), max(end_ns, met[-1][1])) if met else (start_ns, end_ns)
    taken[first:last] = [whole]
    return parts
