"""Targets that read messages: telemetry of any dialect among sound neighbours, hellos, and names in a directory."""

from __future__ import annotations

import json
import struct
from collections.abc import Hashable
from typing import Any, Final
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain import wire
from shoal.domain.directory import Directory, find_all
from shoal.domain.errors import InvalidInputError, WireFormatError
from shoal.domain.negotiate import answer_hello, choose_version, decode_answer
from shoal.domain.telemetry import ALL_PRESENT, PRESENT_OF, TELEMETRY, DeviceType
from shoal.fabric.batch import JournalBatch
from shoal.telemetry.decode import Decoded, Decoder
from shoal.telemetry.dialects import is_dialect
from tests.fuzz import plain_dialect
from tests.fuzz.plain_dialect import Said
from tests.fuzz.target import Choices, Target
from tests.property.telemetry.test_decode import DIRECTORY, NOW_NS, SITES, SPEAKERS, Twin

_DECODER: Final = Decoder(directory=DIRECTORY, reuse=True)
_BEHIND: Final = {"gate": {1: 2, 300: 3}, "home-b": {0: 1, 1: 4}}
_MOST_NAMED: Final = 16


def records(count: int, *, present: int = ALL_PRESENT) -> NDArray[Any]:
    """Return sound records."""
    sound = TELEMETRY.empty(count)
    sound["seq"] = np.arange(1, count + 1) + 1_000
    sound["ts_ns"] = NOW_NS + np.arange(count) * 10_000_000_000
    sound["battery_w"], sound["load_w"], sound["soc_frac"] = -1_500, 700, 0.5
    sound["charge_wh"] = 12_345
    sound["present"] = present
    return sound


_BEFORE: Final = wire.encode(records(2), oldest_seq=1_000)
_AFTER: Final = wire.encode(records(2)[1:], oldest_seq=1_001, version=1)


def decode(messages: list[tuple[str, bytes]]) -> Decoded:
    """Return what the decoder makes of messages; what it sets aside can always be told."""
    decoded = _DECODER.decode(
        JournalBatch.of(
            [(f"tele.3.{speaker}".encode(), payload) for speaker, payload in messages],
            timestamp_ns=NOW_NS + np.arange(len(messages), dtype=np.int64),
        )
    )
    for one in decoded.rejected:
        msgspec.json.encode(one)
        assert one.count >= 1 and len(one.detail) <= 200
    assert not TELEMETRY.violations(decoded.records[decoded.usable]).clip(0).any()
    return decoded


def among_neighbours(payload: bytes, speaker: str) -> list[tuple[str, bytes]]:
    """Return a message between others that are sound."""
    return [("home-b", _BEFORE), (speaker, payload), ("home-a", _AFTER)]


def check_binary(data: bytes) -> Hashable:
    """Compare what comes of a binary message with the plain twin of the decoder."""
    speaker = SPEAKERS[crc32(data) % len(SPEAKERS)]
    messages = among_neighbours(data, speaker)
    decoded = decode(messages)
    if is_dialect(data):
        _check_neighbours(decoded)
        return "dialect"
    twin = Twin(messages)
    expected = np.array([values for _, values, *_ in twin.rows], dtype=TELEMETRY.dtype)
    assert _comparable(decoded.records) == _comparable(expected)
    facts = zip(
        decoded.rows.tolist(),
        decoded.oldest_seq.tolist(),
        decoded.message.tolist(),
        decoded.usable.tolist(),
        strict=True,
    )
    assert list(facts) == [(row, oldest, message, good) for row, _, oldest, message, good in twin.rows]
    faults = [(one.arrival_ns - NOW_NS, one.record, one.reason) for one in decoded.rejected]
    if len(twin.faults) <= _MOST_NAMED:
        assert faults == twin.faults
    else:
        assert faults[:_MOST_NAMED] == twin.faults[:_MOST_NAMED]
    assert sum(one.count for one in decoded.rejected) == len(twin.faults)
    if twin.faults and twin.faults[0][1] == -1:
        _check_refused(data)
    present = {values[-1] for _, values, *_ in twin.rows if len(twin.rows) > 3}
    return (
        tuple(reason for _, _, reason in twin.faults[:3]),
        len(twin.rows).bit_length(),
        min(present, default=0),
    )


def check_records(data: bytes) -> Hashable:
    """Do the same for a message whose header fits what follows, so that it is its records that are strange."""
    choices = Choices(data)
    version = choices.pick((2, 2, 2, 1))
    flags, extra = choices.pick((0, 1, 2, 255)), choices.pick((0, 0, 0, 1, 7, 250))
    mask = choices.whole(2) & 0x7FF | choices.pick((0, 0, 0, 1 << 11, 1 << 31))
    near_ms = NOW_NS // 1_000_000
    bases_ms = (
        near_ms,
        near_ms,
        near_ms,
        0,
        -1,
        wire.MAX_TS_MS,
        2**45,
        2**45 - 1,
        -(2**45),
        2**63 - 1,
        -(2**63),
    )
    base_ms, oldest = choices.pick(bases_ms), choices.pick((0, 1, 1_000, -1, 2**32, 2**63 - 1, -(2**63)))
    body = data[12:]
    size = wire.V1_RECORD_BYTES if version == 1 else wire.record_bytes(mask) + extra
    count = max(len(body) // size, 1)
    body = body.ljust(size, b"\1")[: size * count]
    head = struct.pack("<2sBBHH", b"SH", version, flags, count % 2**16, size)
    head += struct.pack("<q", oldest) if version == 1 else struct.pack("<IqI", mask, base_ms, 0)
    return check_binary(head + body)


def _comparable(sent: NDArray[Any]) -> bytes:
    same = sent.copy()
    same["soc_frac"][np.isnan(same["soc_frac"])] = np.nan
    return same.tobytes()


def _check_refused(data: bytes) -> None:
    """The codec of the devices refuses the same messages, with its own error and no other."""
    try:
        wire.decode(data)
    except WireFormatError:
        return
    # an unknown speaker's message may be sound


def _check_neighbours(decoded: Decoded) -> None:
    others = decoded.message != 1
    sound = [*records(2), records(2)[1]]
    assert decoded.records[others].tolist() == [one.tolist() for one in sound]
    assert decoded.rows[others].tolist() == [1, 1, 0]
    assert decoded.usable[others].all()


def check_dialect(data: bytes) -> Hashable:
    """Compare what comes of a JSON or MessagePack message with a plain reading of it."""
    speaker = SPEAKERS[crc32(data) % 6]
    decoded = decode(among_neighbours(data, speaker))
    _check_neighbours(decoded)
    rejected = [one for one in decoded.rejected if one.arrival_ns == NOW_NS + 1]
    if not is_dialect(data):
        return "binary"
    if speaker.startswith("flat"):
        assert [one.reason for one in rejected] == ["unknown_site"]
        return "unknown_site"
    malformed = "malformed_json" if data[:1] in (b"{", b"[") else "malformed_msgpack"
    try:
        said = plain_dialect.read(plain_dialect.load(data))
    except (ValueError, TypeError, RecursionError, msgspec.DecodeError):
        said = "malformed"
    if rejected and rejected[0].reason == malformed:
        # the plant's reader takes no numbers beyond its range, and no surrogates; the standard library's does
        assert len(rejected) == 1 and not (decoded.message == 1).any()
        return malformed, str(said)
    assert not isinstance(said, str) or [one.reason for one in rejected] == [said], (said, rejected)
    if isinstance(said, str):
        return said
    return _compare(said, speaker, decoded, rejected)


def _compare(said: list[Said], speaker: str, decoded: Decoded, rejected: list[Any]) -> Hashable:
    reasons: list[tuple[int, str]] = []
    expected: list[tuple[int, dict[str, Any] | None, int, int, bool]] = []
    for position, one in enumerate(said):
        row, seq = _row(speaker, one.speaker), one.values["seq"]
        reason = one.reason if not one.is_read else "unknown_unit" if row < 0 else one.reason
        if reason:
            reasons.append((position, reason))
        if row >= 0 and seq >= 1:
            oldest = min(one.oldest_seq, seq)
            expected.append((row, one.values if one.is_read else None, oldest, seq, not reason))
    of_it = np.flatnonzero(decoded.message == 1)
    assert len(of_it) == len(expected)
    for at, (row, values, oldest, seq, good) in zip(of_it.tolist(), expected, strict=True):
        record = decoded.records[at]
        assert (decoded.rows[at], decoded.usable[at], record["seq"]) == (row, good, seq)
        assert decoded.oldest_seq[at] == oldest
        for name in TELEMETRY.names if values else ():
            same = np.array([values[name]], dtype=record.dtype[name])[0] if values else 0
            assert record[name] == same or (same != same and record[name] != record[name]), name
    named = [(one.record, one.reason) for one in rejected]
    if len(reasons) <= _MOST_NAMED:
        assert named == reasons
    assert sum(one.count for one in rejected) == len(reasons)
    return tuple(reason for _, reason in reasons[:4]), len(expected).bit_length()


def _row(sender: str, speaker: str | int | None) -> int:
    units = _BEHIND.get(sender, {0: 0} if sender == "home-a" else {})
    if isinstance(speaker, str):
        return SITES.index(speaker) if speaker in SITES and SITES.index(speaker) in units.values() else -1
    return units.get(speaker or 0, -1)


def check_hello(data: bytes) -> Hashable:
    """Every hello is answered, and every answer can be read."""
    answer = answer_hello(data)
    assert decode_answer(msgspec.json.encode(answer)) == answer
    assert (answer.version is None) == (answer.reason != "agreed")
    try:
        offered = json.loads(data.decode())["versions"]
    except (ValueError, TypeError, KeyError, RecursionError):
        offered = None
    if offered is not None and answer.reason != "malformed_hello":
        assert answer.version == max({1, 2} & set(offered[:64]), default=None)
    try:
        said = decode_answer(data)
    except WireFormatError as error:
        return answer.reason, answer.version, error.reason
    chosen = choose_version(said)
    assert chosen is None or chosen in said.accepts.versions
    return answer.reason, answer.version, chosen


def check_directory(data: bytes) -> Hashable:
    """Whoever is asked for, a directory answers as a dictionary would."""
    choices = Choices(data)
    alphabet = choices.pick(("ab", "abcdefghijklmnopqrstuvwxyz0123456789-_", "\0\x7fz"))
    names = [
        "".join(choices.pick(alphabet) for _ in range(choices.pick((1, 2, 3, 8, 64, 0))))
        for _ in range(choices.pick((0, 1, 2, 3, 7, 30, 250)))
    ]
    cut = choices.below(len(names) + 1)
    sites, gateways = names[:cut], names[cut:]
    of = np.array([choices.below(len(gateways) + 1) - 1 for _ in sites], dtype=np.int32)
    unit = np.array([choices.pick((1, 2, 3, 0, 65_535, 65_536)) for _ in sites], dtype=np.int64)
    try:
        directory = Directory(sites, gateway_ids=gateways, gateway_of=of, gateway_unit=unit)
    except InvalidInputError as error:
        behind = list(zip(of[of >= 0].tolist(), unit[of >= 0].tolist(), strict=True))
        own = {site for site, gateway in zip(sites, of.tolist(), strict=True) if gateway < 0}
        assert (
            "" in names
            or "\0" in "".join(names)
            or len(set(sites)) < len(sites)
            or len(set(gateways)) < len(gateways)
            or (set(sites) - own) & set(gateways)
            or len(set(behind)) < len(behind)
            or any(not 1 <= number <= 65_535 for _, number in behind)
        ), error
        return "refused", error.field
    asked = [*(name.encode() for name in names), b"", b"a", b"nobody", data[:70], data[1:3]]
    _check_names(directory, sites, gateways, of, asked)
    units = {(g, n): row for row, (g, n) in enumerate(zip(of.tolist(), unit.tolist(), strict=True)) if g >= 0}
    for gateway, name in enumerate(gateways):
        for number in (0, 1, 2, 3, 4, 65_535, 65_536, -1):
            own_row = sites.index(name) if number == 0 and name in sites else -1
            assert directory.unit_row(gateway, number) == units.get((gateway, number), own_row)
    return len(sites).bit_length(), len(gateways).bit_length(), len(units).bit_length()


def _check_names(
    directory: Directory, sites: list[str], gateways: list[str], of: NDArray[Any], asked: list[bytes]
) -> None:
    expected = []
    for name in asked:
        text = name.decode("latin-1")
        row = sites.index(text) if text in sites else -1
        through = row >= 0 and of[row] >= 0
        gateway = gateways.index(text) if text in gateways else -1
        assert directory.row(name) == row
        assert directory.gateway(name) == gateway
        assert directory.speaks_through(name) == through
        expected.append(len(sites) + gateway if gateway >= 0 else -2 - row if through else row)
    blob = np.frombuffer(bytearray(b"#".join([b"", *asked, b""])), np.uint8)
    size = np.array([len(name) for name in asked])
    at = np.cumsum(size + 1) - size
    numbers = np.empty(len(asked), np.int64)
    find_all(directory.arrays, blob, at, size, numbers)
    assert numbers.tolist() == expected


def _binary_seeds() -> tuple[bytes, ...]:
    seeds = [
        wire.encode(records(3), oldest_seq=900),
        wire.encode(records(1), oldest_seq=1_000, version=1),
        wire.encode(records(4), oldest_seq=-(2**63), version=1),
        wire.encode(records(3), oldest_seq=1_001, units=np.array([1, 300, 9])),
        wire.encode(records(25), oldest_seq=1_001, units=np.array([0] * 25)),
    ]
    for kind in DeviceType:
        sent = records(2, present=PRESENT_OF[kind])
        sent["flags"] = 64
        seeds.append(wire.encode(sent, oldest_seq=1_001))
    large = records(2)
    large["import_wh"] = 2**50 - 1
    seeds.append(wire.encode(large, oldest_seq=0))
    return tuple(seeds)


def _record_seeds() -> tuple[bytes, ...]:
    head = bytes((0, 0, 0)) + ALL_PRESENT.to_bytes(2, "little") + bytes(7)
    return tuple(
        head[:at] + bytes((number,)) + head[at + 1 :] + seed[wire.V2_HEADER_BYTES :]
        for number, at in ((0, 0), (3, 0), (1, 1), (4, 2), (7, 4), (4, 3))
        for seed in _binary_seeds()[:4]
    )


def _dialect_seeds() -> tuple[bytes, ...]:
    one = {"ts_ns": NOW_NS, "seq": 5, "battery_w": -1_500, "soc_frac": 0.5, "charge_wh": 7, "flags": 64}
    messages: list[Any] = [
        {
            "v": 2,
            "oldest_seq": 4,
            "records": [one, {**one, "seq": 6}, {"ts_ms": 1_612_936_800_000, "seq": 7}],
        },
        {"v": 1, "records": [{**one, "site": "home-b"}, {**one, "site": "flat-3"}, {**one, "unit": 1}]},
        {"v": 2, "records": [{**one, "unit": 300, "oldest_seq": 2}, {**one, "site": "flat-1"}, 7, None, "x"]},
        {"v": 2.0, "records": [{"ts_ns": 1e18, "seq": 2.0, "load_w": 1.5, "soc_frac": -0.0}, []]},
        {"v": 2, "records": [{"seq": k} for k in range(40)]},
    ]
    return tuple(encode(m) for m in messages for encode in (msgspec.json.encode, msgspec.msgpack.encode))


_BINARY_WORDS: Final = (
    *(b"SH\x01", b"SH\x02", b"SH\x02\x01", b"\xff\x03\0\0", b"\xff\x07\0\0", b"\xff\xff\xff\xff", b"\x48\0"),
    *(b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\x12\x83\x80\x3f", b"\x13\x83\x80\x3f"),
    *(
        b"\0\xca\x9a\x3b",
        b"\x01\xca\x9a\x3b",
        b"\0\x36\x65\xc4",
        b"\x01\0\0\0\0\0\x20\0",
        b"\0\0\0\0\0\0\x20\0",
    ),
    *(b"\xff\xff", b"\xff" * 8, b"\xf0\xd8\xff\xff", b"\0" * 72, b"{", b"\x1a\x27", b"\0\0\0\0\0\x20\0\0"),
)
_DIALECT_WORDS: Final = (
    *(
        b"null",
        b"true",
        b"1e999",
        b"-0",
        b"1e300",
        b"0.1",
        b"NaN",
        b'"\\ud800"',
        b"[",
        b"{}",
        b'"site":"home-b",',
    ),
    *(
        b'"unit":1,',
        b'"seq":',
        b'"ts_ms":',
        b'"ts_ns":',
        b'"oldest_seq":1,',
        b'"soc_frac":',
        b",",
        b"\xff",
        b'"',
    ),
    *(
        b"\xc0",
        b"\xc3",
        b"\xca\x7f\xc0\0\0",
        b"\xcb\x7f\xf0\0\0\0\0\0\0",
        b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    ),
    *(
        b"\xa4site\xa6flat-1",
        b"\xa4unit\x01",
        b"\xa5ts_ms",
        b"\x90",
        b"\x80",
        b"\xd6\xff\0\0\0\0",
        b"\xc4\x01x",
    ),
    *(
        b"9" * 4_298,
        b"[" * 900,
        b"\x91" * 900,
        b"\xa3seq",
        b"\xde\xff\xff",
        b"\xdd\0\0\xff\xff",
        b"1.001",
        b"-0.001",
    ),
)
_HELLOS: Final = (
    *(
        b'{"versions":[2,1]}',
        b'{"versions":[9,3],"device":"x"}',
        b'{"versions":[]}',
        b'{"versions":[1,1,2,7]}',
    ),
    msgspec.json.encode(answer_hello(b'{"versions":[2]}')),
)
_NAMES: Final = tuple(bytes((a * b + c) % 256 for b in range(200)) for a in range(1, 9) for c in range(3))

TARGETS: Final = (
    Target(name="binary", check=check_binary, seeds=_binary_seeds(), words=_BINARY_WORDS),
    Target(name="records", check=check_records, seeds=_record_seeds(), words=_BINARY_WORDS),
    Target(name="dialect", check=check_dialect, seeds=_dialect_seeds(), words=_DIALECT_WORDS),
    Target(name="hello", check=check_hello, seeds=_HELLOS, words=_DIALECT_WORDS),
    Target(
        name="directory", check=check_directory, seeds=_NAMES, words=(b"\0\0\0\0", b"\xff\xff", b"\x05\x06")
    ),
)
