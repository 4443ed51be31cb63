"""What a homeowner's word comes to: the question whether it was heard, and what the home was told since.

The word itself is kept in the database first. Telling the controller makes it look at once instead of a little later; a
controller that is away finds the word when it is back.
"""

from __future__ import annotations

import msgspec


class AskHome(msgspec.Struct, frozen=True, kw_only=True):
    """Look at what owners said, and say what a home has been told.

    Attributes:
        site_id: Which home.
        look: Whether to look for new words first; else only what is known is told.
    """

    site_id: str
    look: bool = True


class HomeTold(msgspec.Struct, frozen=True, kw_only=True):
    """What the document of a home says now, and whether its device has said that it took it.

    Attributes:
        site_id: Which home.
        t_ns: The controller's instant.
        events: Events that stand in the document, by what the device calls them.
        reserve_frac: What the document says of the owner's reserve; 0 when it names none.
        version: Of the document last sent; 0 when none ever was.
        sent_ns: When it was sent; 0 for never.
        taken: Whether the device has said that it took it, or nothing was ever to be told.
    """

    site_id: str
    t_ns: int
    events: tuple[str, ...]
    reserve_frac: float
    version: int
    sent_ns: int
    taken: bool
