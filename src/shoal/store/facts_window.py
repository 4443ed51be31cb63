"""A span of knowledge in memory, for asking again and again: what was known of it as of one instant after another.

A back-test asks as of each of its decisions. It reads its span once, with every revision, and gets from the window what
`FactStore.as_of` would answer, bit for bit; like that it cannot be shown what became known later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import SeriesId
from shoal.store.facts_columns import Columns, known_then
from shoal.store.facts_records import Slice


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """All that was ever said of the intervals of some series that start in `[from_ns, to_ns)`.

    Attributes:
        from_ns: Where it begins.
        to_ns: Where it ends.
        facts: Each series' facts, in order.
    """

    from_ns: int
    to_ns: int
    facts: Mapping[SeriesId, Columns]

    def as_of(
        self, as_of_ns: int, *, from_ns: int | None = None, to_ns: int | None = None
    ) -> dict[SeriesId, Slice]:
        """Return what was known at an instant, of the window or of a span in it.

        Raises:
            InvalidInputError: when the span reaches beyond the window.
        """
        begin_ns = self.from_ns if from_ns is None else from_ns
        end_ns = self.to_ns if to_ns is None else to_ns
        if begin_ns < self.from_ns or end_ns > self.to_ns:
            raise InvalidInputError(
                field="span", value=(begin_ns, end_ns), fix=f"stay in [{self.from_ns}, {self.to_ns})"
            )
        return {
            series_id: known_then(
                [columns], columns.value.shape[1], from_ns=begin_ns, to_ns=end_ns, as_of_ns=as_of_ns
            )
            for series_id, columns in self.facts.items()
        }
