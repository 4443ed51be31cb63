"""MQTT 3.1.1 packets of a server read plainly: field after field, as the standard lists them."""

from __future__ import annotations

from shoal.edge.mqtt import ConnAck, Packet, PingResp, PubAck, Publish, SubAck


def read_packets(stream: bytes, most_bytes: int) -> tuple[list[Packet], int, str]:
    """Return the packets at the beginning of a stream, the bytes that they take, and why it cannot go on, or nothing."""
    packets: list[Packet] = []
    at = 0
    while len(stream) - at >= 2:
        kind, bits = stream[at] >> 4, stream[at] & 15
        if not (kind == 3 and bits & 6 != 6) and not (kind in (2, 4, 9, 13) and bits == 0):
            return packets, at, "packet_type"
        digits = stream[at + 1 : at + 5]
        used = next((place + 1 for place, digit in enumerate(digits) if digit < 128), 0)
        if not used and len(digits) == 4:
            return packets, at, "remaining_length"
        if not used:
            break
        length = sum((digit & 127) * 128**place for place, digit in enumerate(digits[:used]))
        end = at + 1 + used + length
        if end - at > most_bytes:
            return packets, at, "too_large"
        if end > len(stream):
            break
        packet = _packet(kind, bits, stream[at + 1 + used : end])
        if packet is None:
            return packets, at, "packet_body"
        packets.append(packet)
        at = end
    return packets, at, ""


def _packet(kind: int, bits: int, body: bytes) -> Packet | None:
    number = int.from_bytes(body[:2], "big")
    if kind == 2:
        is_good = len(body) == 2 and body[0] in (0, 1)
        return ConnAck(session_present=body[0] == 1, code=body[1]) if is_good else None
    if kind == 4:
        return PubAck(packet_id=number) if len(body) == 2 else None
    if kind == 9:
        return SubAck(packet_id=number, codes=body[2:]) if len(body) > 2 else None
    if kind == 13:
        return None if body else PingResp()
    topic, rest, qos, packet_id = body[2 : 2 + number], body[2 + number :], bits >> 1 & 3, 0
    if not topic or len(topic) < number:
        return None
    if qos:
        packet_id, rest, is_whole = int.from_bytes(rest[:2], "big"), rest[2:], len(rest) >= 2
        if not is_whole or packet_id == 0:
            return None
    return Publish(
        topic=topic, payload=rest, qos=qos, packet_id=packet_id, retain=bool(bits & 1), dup=bool(bits & 8)
    )
