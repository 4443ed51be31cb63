"""The streams of the fabric: what each is for, how much it keeps, and that the server has them so.

Telemetry and quarantine discard the oldest when they are full. Registers and snapshots never discard: what a register
refers to must stay until its owner refers to something newer, so a full stream refuses to take more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
from nats.aio.client import Client

from shoal.domain.errors import SettingsError, UnavailableError
from shoal.domain.interval import NS_PER_S
from shoal.fabric.connection import translated
from shoal.fabric.subjects import (
    MOST_SHARDS,
    OWNERS_STREAM,
    OWNERS_SUBJECTS,
    QUARANTINE_STREAM,
    QUARANTINE_SUBJECTS,
    SNAPSHOTS_STREAM,
    SNAPSHOTS_SUBJECTS,
    TELEMETRY_SUBJECTS,
    stream_subjects,
    telemetry_stream,
)

_API_TIMEOUT_S: Final = 5.0
_STREAM_NOT_FOUND: Final = 10059
_NOTHING_BYTES: Final = 1
"""No sample is so small."""
_DAY_S: Final = 86_400
_MIB: Final = 1 << 20
_GIB: Final = 1 << 30

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """How much the streams keep.

    Attributes:
        telemetry_max_age_s: Age limit of telemetry, in seconds.
        telemetry_max_bytes: Size limit of telemetry.
        quarantine_max_age_s: Age limit of quarantined messages, in seconds.
        quarantine_max_bytes: Size limit of quarantined messages.
        snapshots_max_bytes: Size limit of snapshots; room for three of every unit is plenty.
        owners_max_bytes: Size limit of registers and of members' keys.
        replicas: Copies in a cluster, 1, 3 or 5.
        shards: Streams that telemetry is divided into, once for all; a reader takes a whole stream, since the engine
            finds a part of one only slowly when it is behind.
    """

    telemetry_max_age_s: float = 7 * _DAY_S
    telemetry_max_bytes: int = 8 * _GIB
    quarantine_max_age_s: float = 30 * _DAY_S
    quarantine_max_bytes: int = _GIB // 2
    snapshots_max_bytes: int = _GIB
    owners_max_bytes: int = 64 * _MIB
    replicas: int = 1
    shards: int = 1


_DEFAULT_LIMITS: Final = StreamLimits()


async def ensure_streams(client: Client, limits: StreamLimits = _DEFAULT_LIMITS) -> None:
    """Create the streams, or change them to `limits`; nothing happens when they are so.

    Needs the rights of the role ``fabric``.

    Raises:
        UnavailableError: when the server does not answer or refuses.
        SettingsError: when telemetry is divided into another number of streams already.
    """
    await _check_shards(client, limits.shards)
    for wanted in _streams(limits):
        await _ensure(client, {**wanted, "num_replicas": limits.replicas})


async def hold_telemetry(client: Client, shards: int) -> None:
    """Let the journal take no more telemetry, though it can be read; `ensure_streams` lets it again.

    Registers and snapshots go on. Nothing that is stored is touched, which a lower limit of bytes might.

    Raises:
        UnavailableError: when the server does not answer or refuses.
    """
    for shard in range(shards):
        await _ensure(client, {"name": telemetry_stream(shard), "max_msg_size": _NOTHING_BYTES})


def _streams(limits: StreamLimits) -> tuple[dict[str, Any], ...]:
    common = {"retention": "limits", "storage": "file"}
    return (
        *(
            {
                **common,
                "name": telemetry_stream(shard),
                "subjects": list(stream_subjects(shard, limits.shards)),
                "discard": "old",
                "max_age": int(limits.telemetry_max_age_s * NS_PER_S),
                "max_bytes": limits.telemetry_max_bytes // limits.shards,
                "max_msg_size": -1,
            }
            for shard in range(limits.shards)
        ),
        {
            **common,
            "name": QUARANTINE_STREAM,
            "subjects": [QUARANTINE_SUBJECTS],
            "discard": "old",
            "max_age": int(limits.quarantine_max_age_s * NS_PER_S),
            "max_bytes": limits.quarantine_max_bytes,
        },
        {
            **common,
            "name": OWNERS_STREAM,
            "subjects": list(OWNERS_SUBJECTS),
            "discard": "new",
            "max_bytes": limits.owners_max_bytes,
            "max_msgs_per_subject": 1,
            "allow_msg_ttl": True,
            "allow_direct": True,
        },
        {
            **common,
            "name": SNAPSHOTS_STREAM,
            "subjects": [SNAPSHOTS_SUBJECTS],
            "discard": "new",
            "max_bytes": limits.snapshots_max_bytes,
            "allow_direct": True,
        },
    )


async def _check_shards(client: Client, shards: int) -> None:
    answer = await _api(client, "STREAM.LIST", {"subject": TELEMETRY_SUBJECTS})
    present = {one["config"]["name"]: one["config"]["subjects"] for one in answer.get("streams") or []}
    if not _is_division(present, shards):
        found = next((n for n in range(1, MOST_SHARDS + 1) if _is_division(present, n)), len(present))
        raise SettingsError(
            field="telemetry.shards",
            value=shards,
            fix=f"set it to {found}: the journal is divided into so many streams, and stays so",
        )


def _is_division(present: Mapping[str, Sequence[str]], shards: int) -> bool:
    """Return whether these are streams of so many; some may be missing, after a first start that was cut short."""
    wanted = {telemetry_stream(shard): list(stream_subjects(shard, shards)) for shard in range(shards)}
    return all(wanted.get(name) == subjects for name, subjects in present.items())


async def _ensure(client: Client, wanted: dict[str, Any]) -> None:
    name = wanted["name"]
    answer = await _api(client, f"STREAM.INFO.{name}", {})
    if answer.get("error", {}).get("err_code") == _STREAM_NOT_FOUND:
        answer = await _api(client, f"STREAM.CREATE.{name}", wanted)
    elif "error" not in answer:
        present = answer["config"]
        if all(present.get(key) == value for key, value in wanted.items()):
            return
        answer = await _api(client, f"STREAM.UPDATE.{name}", {**present, **wanted})
    if "error" in answer:
        raise UnavailableError(f"stream {name}", answer["error"].get("description", "refused"))
    _log.info("stream ensured", stream=name)


async def _api(client: Client, what: str, request: dict[str, Any]) -> dict[str, Any]:
    with translated(f"the journal ({what})"):
        reply = await client.request(f"$JS.API.{what}", msgspec.json.encode(request), timeout=_API_TIMEOUT_S)
    answer: dict[str, Any] = msgspec.json.decode(reply.data)
    return answer
