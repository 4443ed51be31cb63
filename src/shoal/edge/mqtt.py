"""MQTT 3.1.1, the part that a site speaks, without any I/O.

Functions build the packets of a client; `parse` reads the packets of a server out of a buffer that usually
holds whole, small ones, and says how many bytes it used. What is left belongs in front of the next bytes:
`PacketParser` does that for one connection, a holder of many keeps the rest in a column of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from shoal.domain.errors import InvalidInputError, WireFormatError

MAX_REMAINING_BYTES: Final = 268_435_455
"""The longest packet body that the protocol can express."""
DEFAULT_MAX_PACKET_BYTES: Final = 131_072
SUBSCRIPTION_REFUSED: Final = 0x80

_CONNACK: Final = 0x20
_PUBACK: Final = 0x40
_SUBACK: Final = 0x90
_PINGRESP: Final = 0xD0
# Every first byte that a server may send: PUBLISH carries flags (never both QoS bits), the others have none.
_FIRST_BYTES: Final = frozenset(
    {_CONNACK, _PUBACK, _SUBACK, _PINGRESP}
    | {0x30 | dup << 3 | qos << 1 | retain for dup in (0, 1) for qos in (0, 1, 2) for retain in (0, 1)}
)
_U16: Final = struct.Struct(">H")

PINGREQ: Final = b"\xc0\x00"
DISCONNECT: Final = b"\xe0\x00"


class ConnAck(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The server's answer to CONNECT; `code` 0 is yes, 1 to 5 are refusals, 4 and 5 are about credentials."""

    session_present: bool
    code: int


class Publish(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An application message; `packet_id` is 0 at QoS 0."""

    topic: bytes
    payload: bytes
    qos: int = 0
    packet_id: int = 0
    retain: bool = False
    dup: bool = False


class PubAck(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The acknowledgement of a message at QoS 1."""

    packet_id: int


class SubAck(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer to SUBSCRIBE: for each filter the granted QoS, or `SUBSCRIPTION_REFUSED`."""

    packet_id: int
    codes: bytes


class PingResp(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer to PINGREQ."""


Packet: TypeAlias = ConnAck | Publish | PubAck | SubAck | PingResp


def remaining_length(size_bytes: int) -> bytes:
    """Return the 1 to 4 bytes that say how long the body of a packet is.

    Raises:
        InvalidInputError: when the protocol cannot express that length.
    """
    if not 0 <= size_bytes <= MAX_REMAINING_BYTES:
        raise InvalidInputError(field="packet", value=size_bytes, fix=f"at most {MAX_REMAINING_BYTES} bytes")
    encoded = bytearray()
    while True:
        size_bytes, digit = divmod(size_bytes, 128)
        encoded.append(digit | 0x80 if size_bytes else digit)
        if not size_bytes:
            return bytes(encoded)


def text(value: str | bytes) -> bytes:
    """Return a length-prefixed field.

    Raises:
        InvalidInputError: when it is longer than 65,535 bytes.
    """
    raw = value.encode() if isinstance(value, str) else value
    if len(raw) > 0xFFFF:
        raise InvalidInputError(field="text", value=raw[:32], fix="at most 65535 bytes")
    return _U16.pack(len(raw)) + raw


def connect(
    *,
    client_id: str,
    username: str | None = None,
    password: str | None = None,
    keep_alive_s: int = 60,
    clean_session: bool = True,
) -> bytes:
    """Return CONNECT, without a will.

    Raises:
        InvalidInputError: when there is a password without a user name, or a field is too long.
    """
    if password is not None and username is None:
        raise InvalidInputError(field="username", value=None, fix="give a user name with the password")
    flags = 0x02 * clean_session | 0x80 * (username is not None) | 0x40 * (password is not None)
    body = text(b"MQTT") + bytes((4, flags)) + _packet_number("keep_alive_s", keep_alive_s, low=0)
    body += text(client_id)
    for field in (username, password):
        if field is not None:
            body += text(field)
    return b"\x10" + remaining_length(len(body)) + body


def publish(
    topic: str | bytes,
    payload: bytes | memoryview,
    *,
    qos: int = 0,
    packet_id: int = 0,
    retain: bool = False,
    dup: bool = False,
) -> bytes:
    """Return PUBLISH at QoS 0 or 1.

    Raises:
        InvalidInputError: for another QoS, or QoS 1 without a packet id between 1 and 65,535.
    """
    if qos not in (0, 1):
        raise InvalidInputError(field="qos", value=qos, fix="0 or 1")
    head = text(topic)
    if qos:
        head += _packet_number("packet_id", packet_id)
    first = 0x30 | dup << 3 | qos << 1 | retain
    return bytes((first,)) + remaining_length(len(head) + len(payload)) + head + payload


def subscribe(packet_id: int, filters: Sequence[tuple[str, int]]) -> bytes:
    """Return SUBSCRIBE for pairs of topic filter and QoS.

    Raises:
        InvalidInputError: without a filter, or with a wrong packet id or QoS.
    """
    if not filters or any(qos not in (0, 1, 2) for _, qos in filters):
        raise InvalidInputError(field="filters", value=filters, fix="give at least one, QoS 0 to 2")
    body = _packet_number("packet_id", packet_id)
    body += b"".join(text(topic) + bytes((qos,)) for topic, qos in filters)
    return b"\x82" + remaining_length(len(body)) + body


def puback(packet_id: int) -> bytes:
    """Return PUBACK.

    Raises:
        InvalidInputError: when the packet id is not between 1 and 65,535.
    """
    return b"\x40\x02" + _packet_number("packet_id", packet_id)


def parse(buffer: bytes, packets: list[Packet], max_packet_bytes: int = DEFAULT_MAX_PACKET_BYTES) -> int:
    """Append every whole packet at the front of `buffer` to `packets` and return the bytes used.

    After an error the stream has no known position any more: drop the connection.

    Raises:
        WireFormatError: with reason ``packet_type``, ``remaining_length``, ``too_large`` or ``packet_body``.
    """
    at = 0
    size_bytes = len(buffer)
    while size_bytes - at >= 2:
        first = buffer[at]
        if first not in _FIRST_BYTES:
            raise WireFormatError("packet_type", f"first byte 0x{first:02x} is not one that a server sends")
        length = buffer[at + 1]
        body = at + 2
        if length & 0x80:
            length, body = _long_length(buffer, at + 1)
            if not body:
                break
        stop = body + length
        if stop - at > max_packet_bytes:
            raise WireFormatError("too_large", f"{stop - at} bytes, at most {max_packet_bytes} are taken")
        if stop > size_bytes:
            break
        if first == 0x30 and length > 2:
            payload = body + 2 + (buffer[body] << 8 | buffer[body + 1])
            if payload > stop or payload == body + 2:
                raise WireFormatError("packet_body", "PUBLISH without a whole topic")
            packets.append(Publish(topic=buffer[body + 2 : payload], payload=buffer[payload:stop]))
        else:
            packets.append(_packet(first, buffer[body:stop]))
        at = stop
    return at


class PacketParser:
    """The parser of one connection: takes bytes as they come, yields whole packets."""

    __slots__ = ("_max_packet_bytes", "_rest")

    def __init__(self, *, max_packet_bytes: int = DEFAULT_MAX_PACKET_BYTES) -> None:
        self._max_packet_bytes = max_packet_bytes
        self._rest = b""

    def feed(self, data: bytes) -> list[Packet]:
        """Return the packets that `data` completes, in order.

        Raises:
            WireFormatError: see `parse`; the parser is of no use after it.
        """
        buffer = self._rest + data if self._rest else data
        packets: list[Packet] = []
        used = parse(buffer, packets, self._max_packet_bytes)
        self._rest = buffer[used:]
        return packets


def _packet_number(field: str, value: int, low: int = 1) -> bytes:
    if not low <= value <= 0xFFFF:
        raise InvalidInputError(field=field, value=value, fix=f"a whole number from {low} to 65535")
    return _U16.pack(value)


def _long_length(buffer: bytes, at: int) -> tuple[int, int]:
    """Return a length of 2 to 4 bytes and where the body begins; 0 for that while bytes are missing."""
    length = 0
    for place, digit in enumerate(buffer[at : at + 4]):
        length |= (digit & 0x7F) << 7 * place
        if not digit & 0x80:
            return length, at + place + 1
        if place == 3:
            raise WireFormatError("remaining_length", "more than four bytes")
    return 0, 0


def _packet(first: int, body: bytes) -> Packet:
    """Return any packet but the plainest PUBLISH."""
    if first & 0xF0 == 0x30:
        return _publish(first, body)
    if first == _CONNACK and len(body) == 2 and body[0] <= 1:
        return ConnAck(session_present=body[0] == 1, code=body[1])
    if first == _PUBACK and len(body) == 2:
        return PubAck(packet_id=_U16.unpack(body)[0])
    if first == _SUBACK and len(body) >= 3:
        return SubAck(packet_id=_U16.unpack_from(body)[0], codes=body[2:])
    if first == _PINGRESP and not body:
        return PingResp()
    raise WireFormatError("packet_body", f"first byte 0x{first:02x} with a body of {len(body)} bytes")


def _publish(first: int, body: bytes) -> Publish:
    qos = first >> 1 & 3
    topic_end = 2 + _U16.unpack_from(body)[0] if len(body) > 2 else 0
    payload = topic_end + 2 * (qos > 0)
    packet_id = 0
    if topic_end <= 2 or payload > len(body):
        raise WireFormatError("packet_body", "PUBLISH without a whole topic or packet id")
    if qos:
        packet_id = _U16.unpack_from(body, topic_end)[0]
        if packet_id == 0:
            raise WireFormatError("packet_body", "PUBLISH with packet id 0")
    return Publish(
        topic=body[2:topic_end],
        payload=body[payload:],
        qos=qos,
        packet_id=packet_id,
        retain=bool(first & 1),
        dup=bool(first & 8),
    )
