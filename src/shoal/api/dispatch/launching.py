"""Launching an order, through whichever door: checked, weighed by the rule of four eyes, kept, and its preview with it."""

from __future__ import annotations

from typing import Final

import msgspec
import structlog

from shoal.api.commands.door import CommandDoor
from shoal.api.dispatch.order_asked import check_order_asked
from shoal.api.dispatch.preview_answers import PreviewView
from shoal.api.dispatch.previews import KeptPreview
from shoal.control.second_person import SecondNeededError
from shoal.domain.errors import UnavailableError
from shoal.store.order_records import AuditEntry, Order

NEEDS_SECOND: Final = "second_person"
"""The reason that the audit gives for an order that was refused to somebody alone."""
_NS_PER_MS: Final = 1_000_000
_log = structlog.get_logger(__name__)


def launch(
    door: CommandDoor, order: Order, *, held: Order | None = None, seen: KeptPreview | None = None
) -> Order:
    """Launch or change an order as its asker alone; return it. Blocks.

    Args:
        door: The plant's orders.
        order: As it is to be.
        held: As it is, of a change.
        seen: The preview that it is launched from.

    Raises:
        InvalidInputError: when it cannot be carried out.
        UnknownIdError: when it names somebody who does not exist.
        SecondNeededError: when a second person has to approve it; that it was asked stands in the audit.
    """
    check_order_asked(order, door.fleet, door.book, now_ns=door.now_ns())
    view, by = (None, "") if seen is None else (seen.view, seen.by)
    with door.launching:
        if door.second is not None:
            try:
                door.second.check(order, held)
            except SecondNeededError as error:
                refused = AuditEntry(
                    at_ns=order.at_ns,
                    by=order.by,
                    action="put" if held is None else "change",
                    subject=order.order_id,
                    outcome="refused",
                    reason=NEEDS_SECOND,
                    detail=str(error),
                )
                door.orders.note([refused])
                raise
        return keep(door, order, seen=view, seen_by=by)


def keep(door: CommandDoor, order: Order, *, seen: PreviewView | None, seen_by: str) -> Order:
    """Keep an order that may be launched, and what was seen of it before. Blocks.

    Raises:
        InvalidInputError: when its id is taken, or somebody else has changed it meanwhile.
    """
    kept = door.orders.put(order)
    if seen is not None:
        try:
            door.orders.note([preview_line(order.order_id, seen, by=seen_by)])
            if door.proposals is not None and order.revision == 1:
                door.proposals.keep_preview(
                    order.order_id, msgspec.json.encode(seen), by=seen_by, at_ns=order.at_ns
                )
        except UnavailableError as error:
            # the order stands: whoever heard of a fault now would launch it a second time
            _log.error("what was seen of an order is not kept", order=order.order_id, why=str(error))
    return kept


def preview_line(subject: str, seen: PreviewView, *, by: str) -> AuditEntry:
    """Return the audit's line of a preview that was launched or proposed."""
    return AuditEntry(
        at_ns=seen.made_ms * _NS_PER_MS,
        by=by,
        action="preview",
        subject=subject,
        reason=seen.token,
        detail=(
            f"{seen.taking_part} of {seen.sites} sites, {seen.expected_kw:,.1f} kW expected, between "
            f"{seen.low_kw:,.1f} and {seen.high_kw:,.1f} kW nine times out of ten, charging positive"
        ),
    )
