"""Every subject of the fabric in one place.

A device publishes on `dev.<site>.tele`; the server maps that to `tele.<partition>.<site>`, and the journal keeps it.
The partition is a pure function of the site's name (`shoal.domain.partition`), the same here as in the server, so that
anyone can tell which shard owns a site without asking.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from shoal.domain.errors import InvalidInputError, WireFormatError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import SiteId, site_id
from shoal.domain.partition import PARTITIONS as PARTITIONS
from shoal.domain.partition import partition_of as partition_of

MOST_SHARDS: Final = PARTITIONS
"""How many shards, and so streams of telemetry, there may be."""
TELEMETRY_SUBJECTS: Final = "tele.>"
QUARANTINE_STREAM: Final = "QUARANTINE"
QUARANTINE_SUBJECTS: Final = "quarantine.>"
OWNERS_STREAM: Final = "OWNERS"
OWNERS_SUBJECTS: Final = ("own.>", "member.>")
SNAPSHOTS_STREAM: Final = "SNAPSHOTS"
SNAPSHOTS_SUBJECTS: Final = "snap.>"

DEVICE_MAPPING: Final = ("dev.*.tele", f"tele.{{{{partition({PARTITIONS},1)}}}}.{{{{wildcard(1)}}}}")
"""Source and destination of the server's subject mapping."""

LIVE_AGGREGATES: Final = "live.aggregates"
LIVE_RESOURCES: Final = "live.resources"
LIVE_CONTROL: Final = "live.control"
"""What a cycle of the controller came to."""
LIVE_RUNS: Final = "live.runs"
LIVE_QUARANTINE: Final = "live.quarantine"
LIVE_MONEY: Final = "live.money"
HELLO_ALL: Final = "dev.*.hello"
REPORT_ALL: Final = "dev.*.report"
REPORT_BEHIND_ALL: Final = "dev.*.*.report"
"""Reports of sites behind gateways."""
SIGNAL_ALL: Final = "signal.*"
"""What markets ask of resources every few seconds."""
REGULATION_ALL: Final = "all.regulation.*"
"""What all armed homes of a resource hear of it."""
READING_ALL: Final = "dev.*.reading"
READING_BEHIND_ALL: Final = "dev.*.*.reading"
"""Readings of sites behind gateways."""
ANSWER_ALL: Final = "dev.*.answer"
"""What sites would do at prices that they were asked about."""
ANSWER_BEHIND_ALL: Final = "dev.*.*.answer"
"""Answers of sites behind gateways."""
PRICES_ALL: Final = "homes.*.prices"
"""Rounds of the search for prices, for those who add homes up."""
LIVE_PRICES: Final = "live.prices"
LIVE_ALARMS: Final = "live.alarms"
LIVE_HISTORY: Final = "live.history"
LIVE_ALL: Final = "live.>"
ASK_ALL: Final = "ask.>"
ASK_ALARMS: Final = "ask.alarms"
"""On which people's notes of alarms are taken."""
SUMS_ALL: Final = "sums.>"
ASK_HOMES: Final = "ask.homes"
"""On which the controller is told that an owner has said something, and says what the home was told."""
PACE: Final = "all.pace"
LIVE_GROUP: Final = "live"
"""The group of members that own the twins' shards and the aggregate."""
FLEET_GROUP: Final = "fleet"
"""Under which the fleet itself is kept."""
HISTORY_GROUP: Final = "history"
"""The group of members that own the historian's work."""
SILENCE_GROUP: Final = "silence"
"""Under which the learned table of silent sites is kept."""

_JOURNAL_PREFIX: Final = b"tele."


def telemetry_topic(site: SiteId) -> str:
    """Return the MQTT topic on which `site` publishes its telemetry."""
    return f"dev/{site}/tele"


def telemetry_subject(site: SiteId) -> str:
    """Return the NATS subject on which `site` publishes its telemetry."""
    return f"dev.{site}.tele"


def journal_subject(site: SiteId) -> str:
    """Return the subject under which the journal keeps the telemetry of `site`."""
    return f"tele.{partition_of(site)}.{site}"


def telemetry_stream(shard: int) -> str:
    """Return the stream that keeps the telemetry of a shard's partitions."""
    return f"TELE-{shard}"


TELEMETRY_STREAM: Final = telemetry_stream(0)
"""The one stream of a plant with one shard."""


def stream_subjects(shard: int, shards: int) -> tuple[str, ...]:
    """Return what the stream of a shard keeps, when there are `shards` of them: its share of the partitions."""
    return journal_filter(p for p in range(PARTITIONS) if p * shards // PARTITIONS == shard)


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


def orders_subject(site: SiteId) -> str:
    """Return the subject of orders documents sent to `site`."""
    return f"to.{site}.orders"


def report_subject(site: SiteId) -> str:
    """Return the subject on which `site` says what it does with what it was sent.

    For a site behind a gateway, give its `downlink_name`.
    """
    return f"dev.{site}.report"


def reports_behind(gateway: SiteId) -> str:
    """Return the subject filter of the reports that a gateway may send for the sites behind it."""
    return f"dev.{gateway}.*.report"


def downlink_name_of_report_subject(subject: str) -> SiteId:
    """Return under which name the sender of a report is reached (see `downlink_name`).

    Raises:
        WireFormatError: with reason ``subject`` when it is neither dev.<site>.report nor dev.<gateway>.<unit>.report.
    """
    return _sender_of(subject, "report")


def signal_subject(resource: str) -> str:
    """Return the subject on which a market's regulation signal for a resource comes in."""
    return f"signal.{resource}"


def broadcast_subject(resource: str) -> str:
    """Return the subject of the one message a tick that all armed homes of a resource hear."""
    return f"all.regulation.{resource}"


def arming_subject(site: str) -> str:
    """Return the subject of a home's part in regulation; for one behind a gateway, give its `downlink_name`."""
    return f"to.{site}.regulation"


def reading_subject(site: str) -> str:
    """Return the subject on which a home's meter speaks while it is armed; likewise."""
    return f"dev.{site}.reading"


def readings_behind(gateway: SiteId) -> str:
    """Return the subject filter of the readings that a gateway may send for the sites behind it."""
    return f"dev.{gateway}.*.reading"


def downlink_name_of_reading_subject(subject: str) -> SiteId:
    """Return under which name the sender of a reading is reached (see `downlink_name`).

    Raises:
        WireFormatError: with reason ``subject`` when it is neither dev.<site>.reading nor dev.<gateway>.<unit>.reading.
    """
    return _sender_of(subject, "reading")


def prices_subject(site: str) -> str:
    """Return the subject on which a home is asked about prices; for one behind a gateway, give its `downlink_name`."""
    return f"to.{site}.prices"


def answer_subject(site: str) -> str:
    """Return the subject on which a home says so; likewise."""
    return f"dev.{site}.answer"


def answers_behind(gateway: SiteId) -> str:
    """Return the subject filter of the answers that a gateway may send for the sites behind it."""
    return f"dev.{gateway}.*.answer"


def downlink_name_of_answer_subject(subject: str) -> SiteId:
    """Return under which name the sender of an answer is reached (see `downlink_name`).

    Raises:
        WireFormatError: with reason ``subject`` when it is neither dev.<site>.answer nor dev.<gateway>.<unit>.answer.
    """
    return _sender_of(subject, "answer")


def _sender_of(subject: str, kind: str) -> SiteId:
    parts = subject.split(".")
    behind = len(parts) == 4
    if (len(parts) != 3 and not behind) or parts[0] != "dev" or parts[-1] != kind:
        raise WireFormatError("subject", f"{subject!r} is not dev.<site>.{kind}")
    if behind and not (parts[2].isascii() and parts[2].isdigit()):
        raise WireFormatError("subject", f"{subject!r} does not name a unit behind a gateway")
    try:
        device = site_id(parts[1])
    except InvalidInputError as error:
        raise WireFormatError("subject", f"{subject!r} does not name a site") from error
    return SiteId(f"{device}.{parts[2]}") if behind else device


def durable_subject(site: SiteId) -> str:
    """Return the subject on which `site` is told which samples are safe."""
    return f"to.{site}.durable"


def hello_subject(site: SiteId) -> str:
    """Return the subject on which `site` says which versions of telemetry it can send."""
    return f"dev.{site}.hello"


def schema_subject(site: SiteId) -> str:
    """Return the subject on which `site` is told what telemetry the plant accepts."""
    return f"to.{site}.schema"


def site_of_hello_subject(subject: bytes) -> SiteId:
    """Return who said hello on a subject, `dev.<site>.hello`.

    Raises:
        WireFormatError: with reason ``subject`` when it has another shape.
    """
    parts = subject.split(b".")
    if len(parts) != 3 or parts[0] != b"dev" or parts[2] != b"hello":
        raise WireFormatError("subject", f"{subject!r} is not dev.<site>.hello")
    try:
        return site_id(parts[1].decode("ascii"))
    except (UnicodeDecodeError, InvalidInputError) as error:
        raise WireFormatError("subject", f"{subject!r} does not name a site") from error


def downlink_topic_filter(site: SiteId) -> str:
    """Return the MQTT topic filter that a device subscribes to: everything sent to `site`."""
    return f"to/{site}/+"


def downlink_subjects(site: SiteId) -> str:
    """Return the NATS subject filter of everything sent to `site`, or to the sites behind it when it is a gateway."""
    return f"to.{site}.>"


def downlink_name(fleet: Fleet, row: int) -> SiteId:
    """Return under which name a site is reached: its own, or ``<gateway>.<unit>`` for one behind a gateway."""
    gateway = int(fleet.gateway_of[row])
    if gateway < 0:
        return fleet.site_ids[row]
    return SiteId(f"{fleet.gateway_ids[gateway]}.{int(fleet.gateway_unit[row])}")


def quarantine_subject(reason: str) -> str:
    """Return the subject for messages set aside for `reason` (a stable code)."""
    return f"quarantine.{reason}"


def ask_twin_subject(shard: int) -> str:
    """Return the request subject of twin shard `shard`."""
    return f"ask.twin.{shard}"


def register_subject(group: str, unit: str) -> str:
    """Return the subject of the register that says who owns `unit` of `group`."""
    return f"own.{group}.{unit}"


def member_subject(group: str, member: str) -> str:
    """Return the subject of the key that stands while `member` of `group` is alive."""
    return f"member.{group}.{member}"


def changed_subject(group: str) -> str:
    """Return the subject of hints that the members or registers of `group` have changed."""
    return f"changed.{group}"


def snapshot_subject(group: str, unit: str, token: int, number: str) -> str:
    """Return the subject of one snapshot of `unit`, to which the number of a chunk is added."""
    return f"snap.{group}.{unit}.{token}.{number}"


def snapshots_of(group: str, unit: str) -> str:
    """Return the subject filter of every snapshot of `unit`."""
    return f"snap.{group}.{unit}.>"


def conditions_subject(shard: str) -> str:
    """Return the subject of what is the matter with the sites of one shard."""
    return f"sums.{shard}.conditions"


def sums_subject(shard: str) -> str:
    """Return the subject of the partial sums of one shard."""
    return f"sums.{shard}"
