"""What the load generator pretends to be: a plan, the fleet that follows from it, and its messages, ready but for numbers.

Behind a gateway each message holds samples of several sites; a site with a connection of its own sends several samples
at once instead. A few sites are probes: each is alone in a group, so the group's sum shows which sample is visible.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import MOST_UNITS, NAMEPLATE, Fleet, Group
from shoal.domain.ids import GroupId, HierarchyId, SiteId
from shoal.domain.telemetry import OPTIONAL, TELEMETRY, mask_of
from shoal.domain.wire import (
    COLUMN_BYTES,
    KEY_BYTES,
    MAX_RECORDS,
    V2_HEADER_BYTES,
    encode_messages,
    record_bytes,
)
from shoal.edge import mqtt
from shoal.fabric.subjects import telemetry_subject, telemetry_topic
from shoal.simulate._load_kernel import POWER_STEPS as POWER_STEPS
from shoal.simulate._load_kernel import Places

GRID: Final = HierarchyId("load-grid")
PROBES: Final = HierarchyId("load-probes")
PRESENT: Final = mask_of(*(name for name in OPTIONAL if name != "ev_w"))
_REGIONS, _FEEDERS_EACH = 8, 8
_BASE_AT: Final = 12
_SEQ_AT: Final = 4


class Transport(StrEnum):
    """How a connection speaks."""

    NATS = "nats"
    MQTT = "mqtt"


@dataclass(frozen=True, kw_only=True)
class LoadPlan:
    """Who sends what.

    Attributes:
        sites: How many at least; the gateways get equally many, in whole bursts of messages.
        samples_per_message: Records in each message.
        gateways: Connections that speak for several sites each; 0 gives each site a connection of its own.
        transport: How they connect.
        burst: Messages that a gateway sends at once when they are due.
        probes: Sites whose samples can be seen in the aggregates one by one.
        first_seq: Number of each site's first sample.

    Raises:
        InvalidInputError: when a number is out of range.
    """

    sites: int
    samples_per_message: int = 1
    gateways: int = 64
    transport: Transport = Transport.NATS
    burst: int = 16
    probes: int = 64
    first_seq: int = 1

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("sites", self.sites, 1, 10_000_000),
            ("samples_per_message", self.samples_per_message, 1, MAX_RECORDS),
            ("gateways", self.gateways, 0, self.sites),
            ("burst", self.burst, 1, 1_000),
            ("probes", self.probes, 0, self.sites),
            ("first_seq", self.first_seq, 1, 2**31),
        ):
            if not low <= value <= high:
                raise InvalidInputError(field=name, value=value, fix=f"give {low} to {high}")
        if self.gateways and self.each > MOST_UNITS:
            raise InvalidInputError(
                field="gateways", value=self.gateways, fix=f"a gateway speaks for at most {MOST_UNITS} sites"
            )

    @cached_property
    def at_once(self) -> int:
        """Messages that a connection sends at once: a site has one at a time."""
        return min(self.burst, self._least_ring)

    @cached_property
    def ring(self) -> int:
        """Messages of a connection until each of its sites has spoken; whole bursts."""
        return -(-self._least_ring // self.at_once) * self.at_once

    @cached_property
    def _least_ring(self) -> int:
        return -(-self.sites // (self.gateways * self.samples_per_message)) if self.gateways else 1

    @cached_property
    def each(self) -> int:
        """Sites of a connection."""
        return self.ring * self.samples_per_message if self.gateways else 1

    @cached_property
    def round_messages(self) -> int:
        """Messages until every site has spoken equally often."""
        return self.ring * len(self.devices)

    @cached_property
    def devices(self) -> tuple[str, ...]:
        """The name of each connection: gateways, or the sites themselves."""
        if not self.gateways:
            return self.site_ids
        return tuple(f"load-gw-{number:05d}" for number in range(1, self.gateways + 1))

    @cached_property
    def site_ids(self) -> tuple[SiteId, ...]:
        """Every site; those of one connection lie together."""
        count = self.each * (self.gateways or self.sites)
        return tuple(SiteId(f"load-{number:08d}") for number in range(1, count + 1))

    @cached_property
    def probe_rows(self) -> NDArray[np.int64]:
        """Rows of the probes, spread over connections and over places in their rings."""
        count = len(self.site_ids)
        return np.unique(np.linspace(0, count - 1, self.probes).astype(np.int64))

    def message_of(self, row: int, seq: int) -> int:
        """Return the number, over all connections from 0, of the message that brings a site's sample."""
        connection, place = divmod(row, self.each)
        if self.gateways:
            local = (seq - self.first_seq) * self.ring + place // self.samples_per_message
        else:
            local = (seq - self.first_seq) // self.samples_per_message
        block, inside = divmod(local, self.at_once)
        return (block * len(self.devices) + connection) * self.at_once + inside

    def last_seq(self, messages: int) -> NDArray[np.int64]:
        """Return the number of the last sample of each site after so many messages; `first_seq` - 1 for none."""
        connections, burst = len(self.devices), self.at_once
        blocks, rest = divmod(messages, burst)
        whole, extra = divmod(blocks, connections)
        sent = np.full(connections, whole * burst, dtype=np.int64)
        sent[:extra] += burst
        if rest:
            sent[extra] += rest
        if not self.gateways:
            return self.first_seq - 1 + sent * self.samples_per_message
        rounds, into = np.divmod(sent, self.ring)
        spoken = np.arange(self.each) // self.samples_per_message < into[:, None]
        return (self.first_seq - 1 + rounds[:, None] + spoken).ravel()


def plan_load_fleet(plan: LoadPlan) -> Fleet:
    """Return the fleet of a plan: like homes, in a grid of four levels; each probe alone in a group as well."""
    count = len(plan.site_ids)
    groups = [_group("load-all", GRID, None, 0)]
    feeders: list[int] = []
    for region in range(_REGIONS):
        groups.append(_group(f"load-region-{region}", GRID, groups[0], 1))
        above = groups[-1]
        groups.append(_group(f"load-sub-{region}", GRID, above, 2))
        above = groups[-1]
        for feeder in range(_FEEDERS_EACH):
            feeders.append(len(groups))
            groups.append(_group(f"load-feeder-{region}-{feeder}", GRID, above, 3))
    leaf = np.array(feeders, dtype=np.int32)[np.arange(count) * len(feeders) // count]
    memberships = {GRID: leaf}
    if len(plan.probe_rows):
        groups.append(_group("load-probed", PROBES, None, 0))
        above = groups[-1]
        probe = np.full(count, -1, dtype=np.int32)
        probe[plan.probe_rows] = np.arange(len(plan.probe_rows)) + len(groups)
        groups += [_group(f"load-probe-{number}", PROBES, above, 1) for number in range(len(plan.probe_rows))]
        memberships[PROBES] = probe
    nameplate = NAMEPLATE.empty(count)
    for name, value in (
        ("charge_limit_kw", 5.0),
        ("discharge_limit_kw", 5.0),
        ("energy_capacity_kwh", 13.5),
        ("charge_efficiency_frac", 0.95),
        ("discharge_efficiency_frac", 0.95),
        ("reserve_frac", 0.1),
        ("solar_limit_kw", 6.0),
    ):
        nameplate[name] = value
    behind = np.arange(count, dtype=np.int32)
    return Fleet(
        site_ids=plan.site_ids,
        nameplate=nameplate,
        latitude_deg=(26.0 + 8.0 * ((np.arange(count) * 0.618_034) % 1.0)).astype(np.float64),
        longitude_deg=(-106.0 + 12.0 * ((np.arange(count) * 0.754_878) % 1.0)).astype(np.float64),
        groups=tuple(groups),
        leaf_group=memberships,
        resources=(),
        gateway_ids=plan.devices if plan.gateways else (),
        gateway_of=behind // plan.each if plan.gateways else np.full(count, -1, dtype=np.int32),
        gateway_unit=behind % plan.each + 1 if plan.gateways else np.zeros(count, dtype=np.int32),
    )


def prepare(plan: LoadPlan) -> tuple[NDArray[np.uint8], Places]:
    """Return the messages of every connection in the frames of its transport (C x bytes), and where numbers go."""
    per_message, ring, connections = plan.samples_per_message, plan.ring, len(plan.devices)
    records = TELEMETRY.empty(ring * per_message).reshape(ring, per_message)
    place = np.arange(ring * per_message).reshape(ring, per_message)
    records["seq"] = plan.first_seq
    records["present"] = PRESENT
    records["solar_w"] = -(place * 37 % 5_000)
    records["load_w"] = 300 + place * 101 % 3_000
    records["soc_frac"] = 0.1 + 0.8 * ((place * 0.618_034) % 1.0)
    units = 1 + place if plan.gateways else None
    messages = encode_messages(records, oldest_seq=records["seq"], present=PRESENT, units=units)
    payload = messages.view(np.uint8).reshape(ring, messages.itemsize)
    first, last = _frame(plan.transport, plan.devices[0], messages.itemsize)
    framed = np.empty((connections, ring, len(first) + messages.itemsize + len(last)), dtype=np.uint8)
    framed[:, :, len(first) : len(first) + messages.itemsize] = payload
    for number, device in enumerate(plan.devices):
        head, tail = _frame(plan.transport, device, messages.itemsize)
        framed[number, :, : len(head)] = np.frombuffer(head, dtype=np.uint8)
        framed[number, :, framed.shape[2] - len(tail) :] = np.frombuffer(tail, dtype=np.uint8)
    places = Places(
        message_bytes=framed.shape[2],
        base_at=len(first) + _BASE_AT,
        records_at=len(first) + V2_HEADER_BYTES,
        record_bytes=record_bytes(PRESENT),
        records=per_message,
        seq_at=_SEQ_AT,
        battery_at=_column_at("battery_w"),
        import_at=_column_at("import_wh"),
    )
    return framed.reshape(connections, -1), places


def _frame(transport: Transport, device: str, payload_bytes: int) -> tuple[bytes, bytes]:
    """Return what stands before and after a payload; equally long for all devices of a plan."""
    if transport is Transport.NATS:
        return f"PUB {telemetry_subject(SiteId(device))} {payload_bytes}\r\n".encode(), b"\r\n"
    topic = mqtt.text(telemetry_topic(SiteId(device)))
    return b"\x30" + mqtt.remaining_length(len(topic) + payload_bytes) + topic, b""


def _column_at(name: str) -> int:
    """Return where a column lies in a record."""
    before = range(OPTIONAL.index(name))
    return KEY_BYTES + sum(COLUMN_BYTES[bit] for bit in before if PRESENT >> bit & 1)


def _group(name: str, hierarchy_id: HierarchyId, parent: Group | None, level: int) -> Group:
    return Group(
        group_id=GroupId(name),
        hierarchy_id=hierarchy_id,
        parent_id=None if parent is None else parent.group_id,
        name=name,
        level=level,
    )
