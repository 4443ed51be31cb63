"""Facts in memory for a back-test: what the store of facts would answer, from prices with the instants at which they came out.

A back-test owns the future, and this is where it is kept from the strategy: everything that a decision sees is asked for
as of its own instant, here as in the plant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.facts import Facts, SeriesId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.market.calendar import local_ns
from shoal.market.contract import Market
from shoal.store.facts_columns import Columns, judge, known_then
from shoal.store.facts_records import FactBatch, Slice

AFTER_THE_END_NS: Final[Mapping[str, int]] = {"gb": 20 * NS_PER_MINUTE}
"""How long after an interval its price comes out, where that is not at once (see `shoal.connect.feeds.elexon`)."""
_NO_RECORD: Final = 2**62
_PART_NS: Final = 8 * 24 * NS_PER_HOUR
_WHOLE: Final = -(2**62)
"""The number of the part that is the whole of a series."""


class Tape:
    """A store of facts in memory; a `shoal.bidding.cycle.ports.FactKeeper`.

    What is loaded at once stays in one piece; what is recorded bit by bit is kept in parts by time, so that adding to it costs
    the same at the end of a long back-test as at its beginning.
    """

    def __init__(self) -> None:
        self._held: dict[SeriesId, dict[int, _Held]] = {}
        self._record_no = 0

    def as_of(
        self,
        series_ids: Iterable[SeriesId],
        from_ns: int,
        to_ns: int,
        as_of_ns: int,
        *,
        up_to_record: int | None = None,
    ) -> Mapping[SeriesId, Slice]:
        """Return what was known at an instant, as `shoal.store.facts.FactStore.as_of` does; the columns cannot be written to."""
        found = {}
        for series_id in dict.fromkeys(series_ids):
            parts = self._held.get(series_id, {})
            if _WHOLE in parts:
                found[series_id] = parts[_WHOLE].as_of(from_ns, to_ns, as_of_ns, up_to_record)
                continue
            numbers = range(from_ns // _PART_NS, -(-to_ns // _PART_NS))
            columns = [parts[number].columns for number in numbers if number in parts]
            found[series_id] = known_then(
                columns,
                columns[0].value.shape[1] if columns else 1,
                from_ns=from_ns,
                to_ns=to_ns,
                as_of_ns=as_of_ns,
                up_to_record=up_to_record,
            )
        return found

    def last_record(self) -> int:
        """Return the number of the last record."""
        return self._record_no

    def record(self, facts: Facts) -> None:
        """Keep a publication."""
        batch = FactBatch.of(facts)
        self._record_no += 1
        parts = self._held.setdefault(batch.series_id, {})
        if _WHOLE in parts:
            self._add(parts, _WHOLE, self._columns(batch))
            return
        said, number_of = self._columns(batch), batch.start_ns // _PART_NS
        for number in np.unique(number_of).tolist():
            self._add(parts, number, said.take(number_of == number))

    def load(self, batch: FactBatch) -> None:
        """Keep facts of many instants at once; what repeats, or contradicts the same instant, adds nothing."""
        self._record_no += 1
        parts = self._held.setdefault(batch.series_id, {})
        gathered = Columns.joined([self._columns(batch), *(one.columns for one in parts.values())])
        parts.clear()
        self._add(parts, _WHOLE, gathered)

    def _columns(self, batch: FactBatch) -> Columns:
        count = len(batch.start_ns)
        return Columns(
            start_ns=batch.start_ns,
            end_ns=batch.end_ns,
            known_ns=batch.known_ns,
            revision=batch.revision,
            source_no=np.zeros(count, np.int64),
            record_no=np.full(count, self._record_no),
            value=batch.value,
        )

    @staticmethod
    def _add(parts: dict[int, _Held], number: int, said: Columns) -> None:
        known = parts[number].columns if number in parts else Columns.empty(said.value.shape[1])
        kept = said.take(judge(known, said).kept)
        parts[number] = _Held(Columns.joined([known, kept]).ordered())


class _Held:
    """The facts of a series in order; one that only ever grew at its end is answered without copying."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        for name in ("start_ns", "end_ns", "known_ns", "revision", "record_no", "value"):
            getattr(columns, name).flags.writeable = False
        self._grew = bool(
            np.all(np.diff(columns.start_ns) > 0)
            and np.all(np.diff(columns.known_ns) >= 0)
            and np.all(np.diff(columns.record_no) >= 0)
        )

    def as_of(self, from_ns: int, to_ns: int, as_of_ns: int, up_to_record: int | None) -> Slice:
        columns = self.columns
        if not self._grew:
            return known_then(
                [columns],
                columns.value.shape[1],
                from_ns=from_ns,
                to_ns=to_ns,
                as_of_ns=as_of_ns,
                up_to_record=up_to_record,
            )
        record_no = _NO_RECORD if up_to_record is None else up_to_record
        low, high = columns.start_ns.searchsorted((from_ns, to_ns)).tolist()
        high = min(
            high,
            int(columns.known_ns.searchsorted(as_of_ns, side="right")),
            int(columns.record_no.searchsorted(record_no, side="right")),
        )
        rows = slice(low, max(low, high))
        return Slice(
            start_ns=columns.start_ns[rows],
            end_ns=columns.end_ns[rows],
            value=columns.value[rows],
            known_ns=columns.known_ns[rows],
            revision=columns.revision[rows],
        )


def published_ns(
    market: Market, product_id: str, start_ns: NDArray[np.int64], end_ns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return when the price of each of N intervals comes out, as the market's calendar says.

    Those of an auction come out with its results. A price that is made with the dispatch of its own interval is out when
    that begins; one that is a mean of several dispatches, or needs meters, when it has ended.
    """
    product = market.product(product_id)
    publication = next((rule.publication for rule in product.gates if rule.publication is not None), None)
    if publication is None:
        dispatch_ns = market.rules.dispatch.instruction_s * NS_PER_S
        if len(start_ns) and int(end_ns[0] - start_ns[0]) == dispatch_ns:
            return start_ns.copy()
        return end_ns + AFTER_THE_END_NS.get(market.rules.market_id, 0)
    # all hours of a day come out together: one look at the calendar an hour is enough, days begin at whole hours
    hour, row = np.unique(start_ns // NS_PER_HOUR, return_inverse=True)
    known = np.empty(len(hour), np.int64)
    for at, one in enumerate(hour.tolist()):
        before = market.delivery_date(one * NS_PER_HOUR) - timedelta(days=1)
        known[at] = local_ns(market.rules.zone, before, publication)
    return known[row]
