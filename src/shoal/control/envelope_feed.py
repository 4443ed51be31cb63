"""Operating envelopes as a network operator issues them: a JSON list, taken whole or not at all.

    [{"group": "feeder-7", "start": "2026-07-03T17:00:00Z", "end": "2026-07-03T17:05:00Z",
      "import_kw": 250, "export_kw": 100, "issued": "2026-07-03T16:58:00Z"}, ...]

Each names a `group` or a `site`. Without `issued` it was issued when the plant heard of it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from shoal.control.grid_limits import check_targets
from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_MINUTE, to_ns
from shoal.store.limit_records import LimitKind, OperatingEnvelope

MOST: Final = 200_000
CLOCK_AHEAD_NS: Final = 5 * NS_PER_MINUTE
"""So far ahead of the plant's clock an operator's may be."""


class Issued(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One envelope as it is issued."""

    start: datetime
    end: datetime
    import_kw: float
    export_kw: float
    group: str = ""
    site: str = ""
    issued: datetime | None = None


_LIST: Final = msgspec.json.Decoder(list[Issued])


def read_envelopes(text: bytes, fleet: Fleet, *, by: str, now_ns: int) -> list[OperatingEnvelope]:
    """Return the envelopes that a document holds.

    Raises:
        InvalidInputError: naming the first that cannot be used.
    """
    try:
        issued = _LIST.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidInputError(
            field="envelopes", value=text[:40].decode(errors="replace"), fix=f"write a JSON list: {error}"
        ) from error
    return taken(issued, fleet, by=by, now_ns=now_ns)


def taken(issued: list[Issued], fleet: Fleet, *, by: str, now_ns: int) -> list[OperatingEnvelope]:
    """Return what was issued as it is kept; what is over already is left out.

    Raises:
        InvalidInputError: naming the first that cannot be used.
    """
    if len(issued) > MOST:
        raise InvalidInputError(field="envelopes", value=len(issued), fix=f"give at most {MOST} at a time")
    found = []
    for number, one in enumerate(issued):
        where = f"envelope {number + 1}"
        if bool(one.group) == bool(one.site):
            raise InvalidInputError(field=where, value=one.group or one.site, fix="name a group or a site")
        kind: LimitKind = "group" if one.group else "site"
        target = one.group or one.site
        check_targets(fleet, kind, [target])
        issued_ns = now_ns if one.issued is None else _ns(where, one.issued)
        if issued_ns > now_ns + CLOCK_AHEAD_NS:
            raise InvalidInputError(field=where, value=str(one.issued), fix="it is issued in the future")
        for name, power_kw in (("import_kw", one.import_kw), ("export_kw", one.export_kw)):
            if not 0 <= power_kw < 1e9:
                raise InvalidInputError(field=f"{name} of {where}", value=power_kw, fix="give kW from 0 on")
        envelope = OperatingEnvelope(
            kind=kind,
            target=target,
            start_ns=_ns(where, one.start),
            end_ns=_ns(where, one.end),
            issued_ns=issued_ns,
            import_limit_w=round(one.import_kw * 1e3),
            export_limit_w=round(one.export_kw * 1e3),
            by=by,
            at_ns=now_ns,
        )
        if envelope.end_ns > now_ns:
            found.append(envelope)
    return found


def _ns(where: str, moment: datetime) -> int:
    if moment.tzinfo is None:
        raise InvalidInputError(
            field=where, value=moment.isoformat(), fix="add its distance from UTC, like Z"
        )
    return to_ns(moment)
