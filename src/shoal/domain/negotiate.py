"""Which version of the telemetry message a device and the plant speak: a hello, and what the plant answers.

A device may say hello with the versions that it can send; the plant names the best one that it takes too, and
always says everything that it accepts. The same answer goes to a device that sent an unknown version unasked. A device
that never asks and sends a version that is accepted is served all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from shoal.domain.errors import WireFormatError
from shoal.domain.telemetry import MAX_SEQ, OPTIONAL, TELEMETRY
from shoal.domain.wire import MAX_MESSAGE_BYTES, VERSIONS

DIALECTS: Final = ("binary", "json", "msgpack")
_MOST_HELLO_BYTES: Final = 4_096
_MOST_VERSIONS: Final = 64


class AcceptedColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column that a device may send; `bit` is its place in the mask of the binary message, -1 for none."""

    name: str
    unit: str
    bit: int
    required: bool
    description: str


class Accepts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the plant takes."""

    versions: tuple[int, ...]
    dialects: tuple[str, ...]
    max_message_bytes: int
    max_seq: int
    columns: tuple[AcceptedColumn, ...]


class SchemaAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the plant says to a hello, or to a message that it cannot take.

    Attributes:
        version: The version to send; None for a refusal.
        reason: A stable code: ``agreed``, ``schema_version`` or ``malformed_hello``.
        detail: The same for people.
        accepts: Everything that is accepted.
    """

    version: int | None
    reason: str
    detail: str
    accepts: Accepts


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """What a device says first: the versions that it can send. Other fields are passed over."""

    versions: list[int]


ACCEPTS: Final = Accepts(
    versions=VERSIONS,
    dialects=DIALECTS,
    max_message_bytes=MAX_MESSAGE_BYTES,
    max_seq=MAX_SEQ,
    columns=tuple(
        AcceptedColumn(
            name=column.name,
            unit=column.unit,
            bit=OPTIONAL.index(column.name) if column.name in OPTIONAL else -1,
            required=not column.optional,
            description=column.description,
        )
        for column in TELEMETRY.columns
        if not column.optional or column.name in OPTIONAL
    ),
)

_HELLO: Final = msgspec.json.Decoder(Hello)
_ANSWER: Final = msgspec.json.Decoder(SchemaAnswer)


def encode_hello(versions: Sequence[int] = VERSIONS) -> bytes:
    """Return the hello of a device that can send `versions`, the best first."""
    return msgspec.json.encode(Hello(versions=list(versions)))


def answer_hello(payload: bytes) -> SchemaAnswer:
    """Return the plant's answer to a hello: the newest version that both know, or a refusal."""
    try:
        if len(payload) > _MOST_HELLO_BYTES:
            raise msgspec.ValidationError(f"{len(payload)} bytes, at most {_MOST_HELLO_BYTES} are taken")
        versions = _HELLO.decode(payload).versions[:_MOST_VERSIONS]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _refuse("malformed_hello", f'{error}; expected {{"versions": [2, 1]}}')
    common = set(versions) & set(ACCEPTS.versions)
    if not common:
        return refuse_versions(versions)
    best = max(common)
    return SchemaAnswer(version=best, reason="agreed", detail=f"send version {best}", accepts=ACCEPTS)


def refuse_versions(versions: Sequence[int]) -> SchemaAnswer:
    """Return the plant's answer to versions that it does not know, offered or sent unasked."""
    taken = ", ".join(map(str, ACCEPTS.versions))
    said = ", ".join(map(str, versions)) or "none"
    return _refuse("schema_version", f"versions offered: {said}; versions taken: {taken}")


def decode_answer(payload: bytes) -> SchemaAnswer:
    """Return the plant's answer as a device reads it.

    Raises:
        WireFormatError: with reason ``schema_answer``.
    """
    try:
        return _ANSWER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireFormatError("schema_answer", str(error)) from error


def choose_version(answer: SchemaAnswer, own_versions: Sequence[int] = VERSIONS) -> int | None:
    """Return the version that a device sends after an answer: the newest of `own_versions` that is taken, None for none."""
    return max(set(own_versions) & set(answer.accepts.versions), default=None)


def _refuse(reason: str, detail: str) -> SchemaAnswer:
    return SchemaAnswer(version=None, reason=reason, detail=detail, accepts=ACCEPTS)
