"""Every subject of the fabric in one place.

A device publishes on `dev.<site>.tele`; the server maps that to `tele.<partition>.<site>`, and the journal keeps it.
The partition is a pure function of the site's name, the same here as in the server, so that anyone can tell which
shard owns a site without asking.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from shoal.domain.errors import InvalidInputError, WireFormatError
from shoal.domain.ids import SiteId, site_id

PARTITIONS: Final = 64

TELEMETRY_STREAM: Final = "TELE"
TELEMETRY_SUBJECTS: Final = "tele.>"
QUARANTINE_STREAM: Final = "QUARANTINE"
QUARANTINE_SUBJECTS: Final = "quarantine.>"

DEVICE_MAPPING: Final = ("dev.*.tele", f"tele.{{{{partition({PARTITIONS},1)}}}}.{{{{wildcard(1)}}}}")
"""Source and destination of the server's subject mapping."""

LIVE_AGGREGATES: Final = "live.aggregates"
LIVE_RESOURCES: Final = "live.resources"
LIVE_RUNS: Final = "live.runs"
LIVE_QUARANTINE: Final = "live.quarantine"
LIVE_MONEY: Final = "live.money"
LIVE_ALL: Final = "live.>"
ASK_ALL: Final = "ask.>"

_FNV_OFFSET: Final = 2_166_136_261
_FNV_PRIME: Final = 16_777_619
_JOURNAL_PREFIX: Final = b"tele."


def partition_of(site: SiteId) -> int:
    """Return the partition of `site`: FNV-1a (32 bits) of its name, modulo `PARTITIONS`, as the server computes it."""
    digest = _FNV_OFFSET
    for byte in site.encode():
        digest = ((digest ^ byte) * _FNV_PRIME) & 0xFFFF_FFFF
    return digest % PARTITIONS


def telemetry_topic(site: SiteId) -> str:
    """Return the MQTT topic on which `site` publishes its telemetry."""
    return f"dev/{site}/tele"


def telemetry_subject(site: SiteId) -> str:
    """Return the NATS subject on which `site` publishes its telemetry."""
    return f"dev.{site}.tele"


def journal_subject(site: SiteId) -> str:
    """Return the subject under which the journal keeps the telemetry of `site`."""
    return f"tele.{partition_of(site)}.{site}"


def journal_filter(partitions: Iterable[int] | None = None) -> tuple[str, ...]:
    """Return the journal's subject filters for `partitions`; None, or all of them, gives the one filter for everything.

    Raises:
        InvalidInputError: when there is no partition, or one is not in `[0, PARTITIONS)`.
    """
    chosen = sorted(set(range(PARTITIONS) if partitions is None else partitions))
    if not chosen or chosen[0] < 0 or chosen[-1] >= PARTITIONS:
        raise InvalidInputError(
            field="partitions", value=chosen, fix=f"give at least one number from 0 to {PARTITIONS - 1}"
        )
    if len(chosen) == PARTITIONS:
        return (TELEMETRY_SUBJECTS,)
    return tuple(f"tele.{partition}.>" for partition in chosen)


def site_of_journal_subject(subject: bytes) -> SiteId:
    """Return the site of a journal subject, `tele.<partition>.<site>`.

    Raises:
        WireFormatError: with reason ``subject`` when it has another shape.
    """
    parts = subject.split(b".")
    if len(parts) != 3 or not subject.startswith(_JOURNAL_PREFIX) or not parts[1].isdigit():
        raise WireFormatError("subject", f"{subject!r} is not tele.<partition>.<site>")
    try:
        return site_id(parts[2].decode("ascii"))
    except (UnicodeDecodeError, InvalidInputError) as error:
        raise WireFormatError("subject", f"{subject!r} does not end in a site id") from error


def desired_subject(site: SiteId) -> str:
    """Return the subject of desired states sent to `site`."""
    return f"to.{site}.desired"


def durable_subject(site: SiteId) -> str:
    """Return the subject on which `site` is told which samples are safe."""
    return f"to.{site}.durable"


def downlink_topic_filter(site: SiteId) -> str:
    """Return the MQTT topic filter that a device subscribes to: everything sent to `site`."""
    return f"to/{site}/+"


def downlink_subjects(site: SiteId) -> str:
    """Return the NATS subject filter of everything sent to `site`."""
    return f"to.{site}.*"


def quarantine_subject(reason: str) -> str:
    """Return the subject for messages set aside for `reason` (a stable code)."""
    return f"quarantine.{reason}"


def ask_twin_subject(shard: int) -> str:
    """Return the request subject of twin shard `shard`."""
    return f"ask.twin.{shard}"
