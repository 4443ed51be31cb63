"""What the size of a plant is reckoned from: what was measured, what is assumed, and what the code lays down.

Measured figures stand in `_scaling_measured.toml`, each with the command that gives it. What the code lays down is taken
from the code, so it cannot be another number here.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any, Final

from shoal.domain.errors import InvalidInputError
from shoal.domain.telemetry import PRESENT_OF, DeviceType
from shoal.domain.wire import V2_HEADER_BYTES, record_bytes
from shoal.simulate.fleet import HOMES_PER_FEEDER

FILE: Final = "_scaling_measured.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured here; each figure is explained in the file, under the same name."""

    engine_message_us: float
    engine_record_us: float
    engine_mqtt_us: float
    engine_copy_us: float
    engine_reader_us: float
    lane_messages_per_s: float
    telemetry_message_us: float
    telemetry_record_us: float
    refresh_site_us: float
    twin_bytes: float
    history_row_us: float
    history_row_bytes: float
    rollup_5min_bytes_per_day: float
    rollup_1h_bytes_per_day: float
    query_rows_per_s: float
    engine_subject_bytes: float
    connection_bytes: float
    sign_in_us: float
    takeover_s: float
    sums_add_us: float
    aggregate_write_us: float
    aggregate_read_us: float
    aggregate_bytes: float
    fleet_message_bytes: float
    fleet_held_bytes: float
    fleet_read_us: float
    registry_read_us: float
    control_site_us: float
    order_us: float
    ask_site_us: float
    process_bytes: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise InvalidInputError(field=field.name, value=value, fix="give a positive figure")


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """Where a measured figure comes from."""

    name: str
    value: float
    unit: str
    source: str
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """All measured figures, on which machine and when."""

    machine: str
    date: str
    constants: tuple[Constant, ...]

    def measured(self) -> Measured:
        """Return the figures alone."""
        return Measured(**{constant.name: constant.value for constant in self.constants})


@cache
def provenance() -> Provenance:
    """Return what the file holds.

    Raises:
        InvalidInputError: when a figure is missing, unknown, or does not say where it comes from.
    """
    text = (resources.files("shoal.cli.benches") / FILE).read_text(encoding="utf-8")
    return provenance_of(tomllib.loads(text))


def provenance_of(content: dict[str, Any]) -> Provenance:
    """Return what the content of such a file says; raises as `provenance` does."""
    figures = {name: said for name, said in content.items() if isinstance(said, dict)}
    wanted = {field.name for field in fields(Measured)}
    for name in sorted(wanted ^ figures.keys()):
        fix = f"give [{name}]" if name in wanted else "take it out: nothing uses it"
        raise InvalidInputError(field=FILE, value=name, fix=fix)
    try:
        constants = tuple(Constant(name=name, **said) for name, said in figures.items())
        return Provenance(machine=content["machine"], date=content["date"], constants=constants)
    except (KeyError, TypeError) as error:
        raise InvalidInputError(
            field=FILE, value=str(error), fix="give value, unit, source and about of each, machine and date"
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What is not measured but chosen. Prices are round figures of nobody's list: put in your own.

    Attributes:
        sample_s: How often a site is sampled.
        report_s: How often a site with a connection of its own sends what has gathered.
        gateway_s: How often a gateway sends the newest sample of each of its sites, in one message.
        gateway_sites: Sites behind a gateway.
        direct_frac: Share of the sites that have an MQTT connection of their own.
        battery_frac: Share of the sites that have a battery, and so get set-points.
        order_every_s: How often a battery gets a set-point, on average.
        down_bytes: A message to a device with everything around it.
        record_bytes: A sample on the wire.
        header_bytes: The header of a message.
        around_bytes: What the journal and the network add to a message: subject, frame, acknowledgements.
        sites_per_group: Sites of the lowest group of the grid.
        journal_h: How long the journal keeps what has been read.
        raw_days: How long history keeps samples.
        rollup_5min_days: How long it keeps five-minute means.
        rollup_1h_days: How long it keeps hourly means.
        row_writes: How often a row of history is written: at once, and when its hour is merged.
        replicas: Copies of the journal in the cluster.
        fill_frac: How much of a processor, of memory, of a disk, of a network or of a process's time is to be used.
        refresh_s: Time between two aggregates.
        takeover_s: How long it may take to replace a dead owner of a shard.
        fleet_change_s: How long a changed fleet may take to be read from the registry.
        connections_a_server: Most MQTT connections of one server; 15,000 were held.
        servers_a_cluster: Most servers of one cluster; three were run.
        machine_cores: Processors of a machine, each like one of those measured on.
        machine_memory_gib: Its memory.
        machine_disk_mb_per_s: What its disk writes.
        machine_network_gbit_per_s: What its network carries.
        core_hour_usd: Price of a processor, an hour.
        memory_gib_hour_usd: Price of memory.
        disk_gb_month_usd: Price of fast disk, for the journal.
        object_gb_month_usd: Price of an object store, for history.
        egress_gb_usd: Price of what is sent to devices; what they send costs nothing.
    """

    sample_s: float = 10.0
    report_s: float = 60.0
    gateway_s: float = 10.0
    gateway_sites: int = 50
    direct_frac: float = 0.5
    battery_frac: float = 0.8
    order_every_s: float = 300.0
    down_bytes: float = 250.0
    record_bytes: float = float(record_bytes(PRESENT_OF[DeviceType.HOME]))
    header_bytes: float = float(V2_HEADER_BYTES)
    around_bytes: float = 100.0
    sites_per_group: int = HOMES_PER_FEEDER
    journal_h: float = 24.0
    raw_days: float = 90.0
    rollup_5min_days: float = 730.0
    rollup_1h_days: float = 3_650.0
    row_writes: float = 2.0
    replicas: int = 3
    fill_frac: float = 0.5
    refresh_s: float = 1.0
    takeover_s: float = 10.0
    fleet_change_s: float = 300.0
    connections_a_server: int = 100_000
    servers_a_cluster: int = 9
    machine_cores: int = 8
    machine_memory_gib: float = 32.0
    machine_disk_mb_per_s: float = 500.0
    machine_network_gbit_per_s: float = 10.0
    core_hour_usd: float = 0.04
    memory_gib_hour_usd: float = 0.005
    disk_gb_month_usd: float = 0.10
    object_gb_month_usd: float = 0.025
    egress_gb_usd: float = 0.10

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            is_share = field.name.endswith("_frac")
            if not (0 <= value <= 1 if field.name in ("direct_frac", "battery_frac") else value > 0):
                raise InvalidInputError(field=field.name, value=value, fix="give a sensible figure")
            if is_share and value > 1:
                raise InvalidInputError(field=field.name, value=value, fix="give a share of at most 1")
