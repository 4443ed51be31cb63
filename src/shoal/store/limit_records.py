"""Limits at connection points as they are kept: what always holds, and envelopes that allow more or less for a while."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

LimitKind: TypeAlias = Literal["site", "group"]


class ConnectionLimit(msgspec.Struct, frozen=True, kw_only=True):
    """What may flow at the connection of a site, or of all sites of a group together, when no envelope says otherwise.

    Attributes:
        kind: Of which.
        target: The site's or group's id.
        import_limit_w: Most that may be drawn from the grid; None for no limit.
        export_limit_w: Most that may be fed into it; None for no limit.
        by: Who said so.
        at_ns: When.
        reason: Why.
    """

    kind: LimitKind
    target: str
    import_limit_w: int | None
    export_limit_w: int | None
    by: str
    at_ns: int
    reason: str = ""


class OperatingEnvelope(msgspec.Struct, frozen=True, kw_only=True):
    """What may flow there over `[start_ns, end_ns)` instead; afterwards the static limit holds again.

    Attributes:
        kind: Of which.
        target: The site's or group's id.
        start_ns: From when.
        end_ns: Until when, exclusive.
        issued_ns: When it was issued; of several in force the newest holds.
        import_limit_w: Most that may be drawn from the grid.
        export_limit_w: Most that may be fed into it.
        by: Who said so.
        at_ns: When the plant heard of it.
    """

    kind: LimitKind
    target: str
    start_ns: int
    end_ns: int
    issued_ns: int
    import_limit_w: int
    export_limit_w: int
    by: str
    at_ns: int
