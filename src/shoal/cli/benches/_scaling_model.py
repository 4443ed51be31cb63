"""How large a plant has to be for so many sites: a pure function of what was measured and what is assumed.

Processor times a message and a sample add up to cores; everything else is bytes. No machine is filled beyond a declared
share, and a fleet beyond the limits of one plant is reckoned as several plants side by side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal.cli.benches._scaling_inputs import Assumptions, Measured
from shoal.domain.partition import PARTITIONS
from shoal.fabric.config import FabricOptions
from shoal.runtime.settings import Settings
from shoal.telemetry.service import MOST_TOLD
from shoal.twin.row import TWIN

HOURS_A_MONTH: Final = 730.0
OTHER_PROCESSES: Final = 4
"""Besides telemetry and history: control, bidding, api and fabric."""
CONDITION_BYTES: Final = 6
"""What a shard says of a site at worst, when none of it can be packed: what is the matter, and how many samples are lost."""
TAKEOVER_SITES: Final = 250_000
"""Of the shard whose takeover was measured."""
_S_A_DAY: Final = 86_400.0
_GIB: Final = float(1 << 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """One plant, and what it takes.

    Attributes:
        sites: How many it serves.
        connections: MQTT connections of sites and of gateways.
        messages_per_s: Messages from devices.
        samples_per_s: Samples in them.
        groups: Groups of the grid, all levels.
        in_bytes_per_s: From devices.
        out_bytes_per_s: To devices.
        between_bytes_per_s: Between the machines: copies, and journal to its two readers.
        journal_bytes: The journal at its age limit, one copy.
        snapshot_bytes: Snapshots of twins and fleet, the newest and the one before.
        disk_bytes_per_s: What the engine writes: the journal and the snapshots, one copy.
        history_bytes_per_day: Samples, as files.
        history_bytes: Everything that history keeps when it is as old as it gets.
        engine_cores: Processor time a second of all servers.
        telemetry_cores: The same of the shards of twins.
        history_cores: The same of history, merging included.
        other_cores: The same of control, the aggregate and the api.
        shards: Streams and shards: a power of two, enough for every process of telemetry and history.
        takeover_s: Until a shard whose owner died is current again.
        refresh_ms: Time for the sums in the process that has most sites.
        sign_in_s: How long until all devices are back after they were all gone, at the default pace.
        sign_in_cores: Processor time a second meanwhile.
        twin_bytes: Memory of all twins.
        connection_bytes: Memory of all connections.
        servers: Servers of the engine.
        workers: Machines for everything else.
        cost_usd_per_month: Of all of it.
    """

    sites: int
    connections: int
    messages_per_s: float
    samples_per_s: float
    groups: int
    in_bytes_per_s: float
    out_bytes_per_s: float
    between_bytes_per_s: float
    journal_bytes: float
    snapshot_bytes: float
    disk_bytes_per_s: float
    history_bytes_per_day: float
    history_bytes: float
    engine_cores: float
    telemetry_cores: float
    history_cores: float
    other_cores: float
    shards: int
    takeover_s: float
    refresh_ms: float
    sign_in_s: float
    sign_in_cores: float
    twin_bytes: float
    connection_bytes: float
    servers: int
    workers: int
    cost_usd_per_month: float

    @property
    def machines(self) -> int:
        """All of them."""
        return self.servers + self.workers


class Model:
    """Reckons plants.

    Args:
        measured: What was measured.
        assumed: What is assumed.
        settings: Settings of the plant; the defaults where nothing else is said.
    """

    def __init__(
        self,
        measured: Measured,
        assumed: Assumptions | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.measured = measured
        self.assumed = assumed or Assumptions()
        self.settings = settings or Settings()

    # -- what comes in

    def connections(self, sites: int) -> int:
        """Return how many devices connect: sites by themselves, and gateways of the others."""
        direct = self._direct(sites)
        return direct + math.ceil((sites - direct) / self.assumed.gateway_sites)

    def messages_per_s(self, sites: int) -> tuple[float, float]:
        """Return messages a second of sites by themselves, and of gateways."""
        direct = self._direct(sites)
        gateways = self.connections(sites) - direct
        return direct / self.assumed.report_s, gateways / self.assumed.gateway_s

    def samples_per_s(self, sites: int) -> tuple[float, float]:
        """Return samples a second of sites by themselves, and through gateways."""
        direct = self._direct(sites)
        return direct / self.assumed.sample_s, (sites - direct) / self.assumed.gateway_s

    def groups(self, sites: int) -> int:
        """Return the groups of a grid whose every level above the lowest has a tenth of those below."""
        lowest = math.ceil(sites / self.assumed.sites_per_group)
        return lowest + math.ceil(lowest / 9)

    def _direct(self, sites: int) -> int:
        return round(sites * self.assumed.direct_frac)

    # -- processors

    def engine_cores(self, sites: int) -> float:
        """Return the engine's processor time a second: messages in, copies, two readers, messages out."""
        m = self.measured
        each_us = m.engine_mqtt_us + m.engine_reader_us + (self.assumed.replicas - 1) * m.engine_copy_us
        in_us = sum(self.messages_per_s(sites)) * each_us
        samples_us = sum(self.samples_per_s(sites)) * m.engine_record_us
        return (in_us + samples_us + self.down_per_s(sites) * m.engine_message_us) / 1e6

    def down_per_s(self, sites: int) -> float:
        """Return messages a second to devices: what is safe, and set-points."""
        told = sites / self.settings.telemetry.durable_ack_every_s
        return told + sites * self.assumed.battery_frac / self.assumed.order_every_s

    def reading_cores(self, sites: int) -> float:
        """Return a journal reader's processor time a second: reading, decoding, applying."""
        m = self.measured
        samples = sum(self.samples_per_s(sites))
        return (
            sum(self.messages_per_s(sites)) * m.telemetry_message_us + samples * m.telemetry_record_us
        ) / 1e6

    def telemetry_cores(self, sites: int) -> float:
        """Return the processor time a second of the twins: reading and the sums."""
        return (
            self.reading_cores(sites) + sites * self.measured.refresh_site_us / self.assumed.refresh_s / 1e6
        )

    def history_cores(self, sites: int) -> float:
        """Return the processor time a second of history: reading, writing and merging."""
        rows = sum(self.samples_per_s(sites)) * self.assumed.row_writes
        return self.reading_cores(sites) + rows * self.measured.history_row_us / 1e6

    def merge_cores(self, sites: int, shards: int) -> float:
        """Return the share of its time that the owner of the aggregate spends on it."""
        m = self.measured
        return (
            self.groups(sites)
            * (shards * m.sums_add_us + m.aggregate_write_us)
            / self.assumed.refresh_s
            / 1e6
        )

    def api_cores(self, sites: int) -> float:
        """Return the share of its time that the api spends on reading aggregates."""
        return self.groups(sites) * self.measured.aggregate_read_us / self.assumed.refresh_s / 1e6

    def control_cycle_s(self, sites: int) -> float:
        """Return how long control takes for a cycle that tells every battery something."""
        m, batteries = self.measured, sites * self.assumed.battery_frac
        return (sites * m.ask_site_us + batteries * (m.control_site_us + m.order_us)) / 1e6

    # -- shards

    def units(self, sites: int) -> int:
        """Return in how many parts the work has to be cut so that each fits one process, and its messages."""
        a = self.assumed
        least = (
            self.telemetry_cores(sites) / a.fill_frac,
            self.history_cores(sites) / a.fill_frac,
            sum(self.messages_per_s(sites)) / (self.measured.lane_messages_per_s * a.fill_frac),
            sites * CONDITION_BYTES / self.most_message_bytes,
            self.takeover_s(sites) / a.takeover_s,
            sites / (MOST_TOLD / a.refresh_s * self.settings.telemetry.durable_ack_every_s),
            2.0,
        )
        return math.ceil(max(least))

    def takeover_s(self, shard_sites: float) -> float:
        """Return how long a dead owner's shard takes: what was measured, and in proportion to it for larger ones."""
        return self.measured.takeover_s * max(shard_sites / TAKEOVER_SITES, 1.0)

    def shards(self, sites: int) -> int:
        """Return how many shards to begin with: the next power of two, at most `PARTITIONS`."""
        return min(1 << (self.units(sites) - 1).bit_length(), PARTITIONS)

    @property
    def most_message_bytes(self) -> int:
        """Largest message that the engine takes."""
        return FabricOptions(store_dir=Path()).max_payload_bytes

    # -- bytes

    def in_bytes_per_s(self, sites: int) -> float:
        """Return what devices send, with everything around it."""
        a = self.assumed
        around = sum(self.messages_per_s(sites)) * (a.header_bytes + a.around_bytes)
        return around + sum(self.samples_per_s(sites)) * a.record_bytes

    def journal_bytes(self, sites: int) -> float:
        """Return the journal at its age limit, one copy."""
        return self.in_bytes_per_s(sites) * self.assumed.journal_h * 3_600

    def snapshot_bytes(self, sites: int) -> float:
        """Return the snapshots of twins and fleet: a new one is there before the old one goes."""
        return 2 * sites * (TWIN.itemsize + self.measured.fleet_message_bytes)

    def history_bytes_per_day(self, sites: int) -> float:
        """Return the samples of a day as files."""
        return sum(self.samples_per_s(sites)) * _S_A_DAY * self.measured.history_row_bytes

    def history_bytes(self, sites: int) -> float:
        """Return what history holds once it is as old as it gets."""
        a, m = self.assumed, self.measured
        means = (
            m.rollup_5min_bytes_per_day * a.rollup_5min_days + m.rollup_1h_bytes_per_day * a.rollup_1h_days
        )
        return self.history_bytes_per_day(sites) * a.raw_days + sites * means

    # -- machines

    def servers(self, sites: int) -> int:
        """Return how many servers of the engine, each on a machine of its own."""
        a = self.assumed
        written = (self.in_bytes_per_s(sites) + self._checkpoint_bytes_per_s(sites)) * a.replicas
        carried = self.in_bytes_per_s(sites) * (a.replicas + 2)
        connections, m = self.connections(sites), self.measured
        # each replica of a stream remembers its subjects
        memory = connections * (m.connection_bytes + a.replicas * m.engine_subject_bytes)
        return max(
            a.replicas,
            self._machines(self.engine_cores(sites), memory),
            math.ceil(connections / a.connections_a_server),
            math.ceil(written / (a.machine_disk_mb_per_s * 1e6 * a.fill_frac)),
            math.ceil(carried * 8 / (a.machine_network_gbit_per_s * 1e9 * a.fill_frac)),
        )

    def workers(self, sites: int) -> int:
        """Return how many machines for all other processes; two, so that one may go."""
        processes = 2 * self.shards(sites) + OTHER_PROCESSES
        memory = processes * (self.measured.process_bytes + sites * self.measured.fleet_held_bytes)
        memory += 2 * sites * self.measured.twin_bytes
        cores = self.telemetry_cores(sites) + self.history_cores(sites) + self._other_cores(sites)
        return max(2, self._machines(cores, memory))

    def _machines(self, cores: float, memory_bytes: float) -> int:
        a = self.assumed
        by_cores = cores / (a.machine_cores * a.fill_frac)
        return math.ceil(max(by_cores, memory_bytes / (a.machine_memory_gib * _GIB * a.fill_frac)))

    def _other_cores(self, sites: int) -> float:
        control = self.control_cycle_s(sites) / self.settings.control.step_s
        return control + self.merge_cores(sites, self.shards(sites)) + self.api_cores(sites)

    def _checkpoint_bytes_per_s(self, sites: int) -> float:
        return sites * TWIN.itemsize / self.settings.telemetry.checkpoint_every_s

    def plant(self, sites: int) -> Plant:
        """Return one plant for so many sites, whether or not one can be so large."""
        a, m = self.assumed, self.measured
        servers, workers, shards = self.servers(sites), self.workers(sites), self.shards(sites)
        connections, out = self.connections(sites), self.down_per_s(sites) * a.down_bytes
        journal, snapshots = self.journal_bytes(sites), self.snapshot_bytes(sites)
        machine_hour_usd = a.machine_cores * a.core_hour_usd + a.machine_memory_gib * a.memory_gib_hour_usd
        cost_usd = (
            (servers + workers) * machine_hour_usd * HOURS_A_MONTH
            + (journal + snapshots) * a.replicas / 1e9 * a.disk_gb_month_usd
            + self.history_bytes(sites) / 1e9 * a.object_gb_month_usd
            + out * HOURS_A_MONTH * 3_600 / 1e9 * a.egress_gb_usd
        )
        return Plant(
            sites=sites,
            connections=connections,
            messages_per_s=sum(self.messages_per_s(sites)),
            samples_per_s=sum(self.samples_per_s(sites)),
            groups=self.groups(sites),
            in_bytes_per_s=self.in_bytes_per_s(sites),
            out_bytes_per_s=out,
            between_bytes_per_s=self.in_bytes_per_s(sites) * (a.replicas - 1 + 2),
            journal_bytes=journal,
            snapshot_bytes=snapshots,
            disk_bytes_per_s=self.in_bytes_per_s(sites) + self._checkpoint_bytes_per_s(sites),
            history_bytes_per_day=self.history_bytes_per_day(sites),
            history_bytes=self.history_bytes(sites),
            engine_cores=self.engine_cores(sites),
            telemetry_cores=self.telemetry_cores(sites),
            history_cores=self.history_cores(sites),
            other_cores=self._other_cores(sites),
            shards=shards,
            takeover_s=self.takeover_s(sites / shards),
            refresh_ms=sites / shards * m.refresh_site_us / 1e3,
            sign_in_s=connections / self.settings.fabric.sign_ins_per_s,
            sign_in_cores=self.settings.fabric.sign_ins_per_s * m.sign_in_us / 1e6,
            twin_bytes=sites * m.twin_bytes,
            connection_bytes=connections * m.connection_bytes,
            servers=servers,
            workers=workers,
            cost_usd_per_month=cost_usd,
        )
