"""What owners told the plant, as the controller hears it: who takes part, what they keep, and which events they sit out.

It is looked at in every cycle, between cycles, and at once when somebody says that there is news.
"""

from __future__ import annotations

import asyncio

from shoal.control.desired_book import DesiredBook
from shoal.control.order_desk import OrderDesk
from shoal.control.owner_skips import OwnerSkips
from shoal.control.taking_part import TakingPart
from shoal.domain.owners import HomeTold


class OwnersWord:
    """Owners' words, read from their stores.

    Args:
        taking_part: Who takes part in what; None where that is not known.
        skips: Who sits out what; None for nobody.
    """

    def __init__(self, taking_part: TakingPart | None, skips: OwnerSkips | None) -> None:
        self._taking_part = taking_part
        self._skips = skips

    async def hear(self, t_ns: int, desk: OrderDesk | None) -> bool:
        """Take in what was said since, and let documents keep to it; return whether terms of programs have changed."""
        terms, words = await asyncio.to_thread(self._read, t_ns)
        if desk is not None:
            if self._taking_part is not None:
                desk.book.keep_reserve(self._taking_part.promised_frac())
            if terms or words:
                desk.look_again()
        return terms

    def _read(self, t_ns: int) -> tuple[bool, bool]:
        terms = self._taking_part is not None and self._taking_part.refresh(t_ns)
        words = self._skips is not None and self._skips.refresh(t_ns)
        return terms, words


def home_told(book: DesiredBook, row: int, site_id: str, t_ns: int) -> HomeTold:
    """Return what a home's document says now, and whether its device took it."""
    document = book.document(row, t_ns, issuer="", fence=0)
    version, taken = int(book.doc_version[row]), int(book.doc_taken[row])
    return HomeTold(
        site_id=site_id,
        t_ns=t_ns,
        events=tuple(event.event_id for event in document.events),
        reserve_frac=document.reserve_frac,
        version=version,
        sent_ns=int(book.doc_sent_ns[row]),
        taken=taken >= version and not bool(book.changed[row]),
    )
