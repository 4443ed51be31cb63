"""What comes down to a device: on which topics, and for whom."""

from __future__ import annotations

from typing import Final, NamedTuple

from shoal.domain.ids import SiteId
from shoal.edge import mqtt

KINDS: Final = {
    kind.encode(): kind for kind in ("desired", "orders", "durable", "schema", "regulation", "prices")
}
PACE_TOPIC: Final = "all/pace"
REGULATION_TOPICS: Final = "all/regulation/+"
_PACE: Final = PACE_TOPIC.encode()
_REGULATION: Final = REGULATION_TOPICS.encode()[:-1]
_DISPENSABLE: Final = 2
"""So many of the last topics a device can do without."""
_MOST_DIGITS: Final = 5


class Message(NamedTuple):
    """What came in.

    Attributes:
        row: The session.
        kind: ``desired``, ``orders``, ``durable``, ``schema``, ``regulation`` (an arming), ``prices`` (a question of the
            search for prices), ``broadcast`` (what all armed sites of a resource do now) or ``pace``.
        payload: The message.
        unit: Number of the site behind a gateway that it is for; 0 for the device itself.
        name: Of a broadcast, the resource.
    """

    row: int
    kind: str
    payload: bytes
    unit: int = 0
    name: str = ""


def subscription(device: SiteId, *, gateway: bool) -> bytes:
    """Return the packet that asks for everything that concerns a device; what it can do without comes last."""
    filters = [(f"to/{device}/+", 0)]
    if gateway:
        filters.append((f"to/{device}/+/+", 0))
    return mqtt.subscribe(1, [*filters, (REGULATION_TOPICS, 0), (PACE_TOPIC, 0)])


def is_refused(codes: bytes) -> bool:
    """Whether the answer to that packet refuses what a device needs; it can do without regulation and the pace."""
    return mqtt.SUBSCRIPTION_REFUSED in (codes[:-_DISPENSABLE] or codes)


def message_of(row: int, packet: mqtt.Publish, prefix: bytes) -> Message | None:
    """Return what a packet is about, None when nobody had asked for it; `prefix` begins the device's own topics."""
    topic = packet.topic
    if not topic.startswith(prefix):
        if topic == _PACE:
            return Message(row, "pace", packet.payload)
        if topic.startswith(_REGULATION):
            resource = topic[len(_REGULATION) :].decode("utf-8", "replace")
            return Message(row, "broadcast", packet.payload, name=resource)
        return None
    last = topic[len(prefix) :]
    if last in KINDS:
        return Message(row, KINDS[last], packet.payload)
    unit, _, last = last.rpartition(b"/")
    if last not in KINDS or not (unit.isdigit() and len(unit) <= _MOST_DIGITS):
        return None
    return Message(row, KINDS[last], packet.payload, int(unit))
