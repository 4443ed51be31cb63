"""The sections of the settings and their keys: each declared once, with default, range, unit and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shoal.runtime.keys import Section, key

_PORT: Final = {"low": 0, "high": 65_535}
_DATABASE: Final = {
    "url": True,
    "pattern": r"|(sqlite|postgresql)(\+[a-z0-9_]+)?://\S+",
    "form": "empty, sqlite:///FILE or postgresql://user:password@host/name",
}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Fabric(Section):
    """The engine that carries telemetry, commands and state."""

    url: str = key(
        "",
        "servers of the engine, with commas between; empty starts one inside the plant",
        url=True,
        pattern=r"|((nats|tls|ws|wss)://[^\s,]+)(,(nats|tls|ws|wss)://[^\s,]+)*",
        form="empty, or nats://host:port or tls://host:port, several with commas between",
    )
    host: str = key("127.0.0.1", "address on which the embedded engine listens")
    client_port: int = key(4222, "port for the plant's own processes; 0 takes a free one", **_PORT)
    mqtt_port: int = key(1883, "port for devices over MQTT; 0 takes a free one", **_PORT)
    websocket_port: int = key(9222, "port for clients over WebSocket; 0 takes a free one", **_PORT)
    monitor_port: int = key(8222, "port of the engine's own statistics; 0 takes a free one", **_PORT)
    store_max_bytes: int = key(4 << 30, "most disk that the journals may take", unit="bytes", low=64 << 20)
    journal_max_age_s: float = key(
        7 * 86_400.0, "how long telemetry stays in the journal", unit="s", low=3_600
    )
    replicas: int = key(1, "copies of everything the engine keeps; 3 or 5 in a cluster", low=1, high=5)
    server_name: str = key(
        "shoal",
        "name of the embedded engine; each engine of a cluster has one of its own",
        pattern=r"[A-Za-z0-9_-]+",
        form="letters, digits, '-' and '_'",
    )
    cluster_name: str = key(
        "",
        "name of the cluster that the embedded engine joins; empty stands alone",
        pattern=r"[A-Za-z0-9_-]*",
        form="empty, or letters, digits, '-' and '_'",
    )
    cluster_port: int = key(6222, "port for the other engines of the cluster", **_PORT)
    cluster_routes: str = key(
        "",
        "engines of the cluster, with commas between",
        url=True,
        pattern=r"|nats://[^\s,]+(,nats://[^\s,]+)*",
        form="empty, or nats://host:cluster_port, several with commas between",
    )
    sign_ins_per_s: float = key(
        1_000.0, "most devices signed in a second; who comes too many is refused and comes again", low=1
    )
    device_messages_per_s: float = key(
        20.0,
        "messages a second beyond which a device is cut off, a gateway so many for each of its sites; 0 never does",
        low=0,
    )
    device_bytes_per_s: float = key(131_072.0, "the same for bytes a second", unit="bytes", low=1_024)
    cut_off_s: float = key(60.0, "how long a device that was cut off is refused", unit="s", low=1)
    min_free_bytes: int = key(
        256 << 20,
        "disk that must stay free; below it the journal takes nothing more, and devices keep what they measure",
        unit="bytes",
        low=0,
    )
    sync_always: bool = key(False, "whether every journal write reaches the disk before it is acknowledged")
    processors: int = key(0, "processors that the embedded engine uses at once; 0 for all", low=0, high=1_024)
    tls_cert: str = key("", "file of the engine's certificate (PEM); empty serves without TLS")
    tls_key: str = key("", "file of the certificate's private key (PEM)")
    tls_ca: str = key("", "file of the authority (PEM) that the engine's certificate is checked against")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Telemetry(Section):
    """The way of a sample from the journal into the twins."""

    shards: int = key(
        1,
        "streams that the journal is divided into, and shards of twins; fixed with the first start",
        low=1,
        high=64,
    )
    own: str = key(
        "",
        "shards that processes started with these settings may own; empty for all",
        pattern=r"|\d{1,2}(-\d{1,2})?(,\d{1,2}(-\d{1,2})?)*",
        form="empty, or numbers and ranges with commas between, such as 0-31",
    )
    processes: int = key(1, "processes of this role that are started together", low=1, high=64)
    fresh_timeout_s: float = key(180.0, "age after which a measurement is stale", unit="s", low=1)
    unknown_timeout_s: float = key(900.0, "age after which nothing is known of a site", unit="s", low=1)
    solar_fresh_timeout_s: float = key(0.0, "the same of solar power; 0 as for the rest", unit="s", low=0)
    load_fresh_timeout_s: float = key(0.0, "the same of household load; 0 as for the rest", unit="s", low=0)
    ev_fresh_timeout_s: float = key(0.0, "the same of EV chargers; 0 as for the rest", unit="s", low=0)
    refresh_every_s: float = key(
        1.0, "machine time between two aggregates; a conducted run makes one a step", unit="s", low=0.005
    )
    checkpoint_every_s: float = key(30.0, "plant time between two snapshots of a shard", unit="s", low=0.1)
    durable_ack_every_s: float = key(
        600.0, "plant time between two answers that samples are safe", unit="s", low=0.1
    )
    max_clock_ahead_s: float = key(
        300.0, "how far a device's clock may run ahead before it is refused", unit="s", low=0
    )
    http_port: int = key(0, "port of the operations endpoint; 0 takes a free one", **_PORT)

    def own_shards(self) -> list[int]:
        """Return the numbers of the shards that may be owned here."""
        if not self.own:
            return list(range(self.shards))
        chosen: set[int] = set()
        for part in self.own.split(","):
            first, _, last = part.partition("-")
            chosen.update(range(int(first), int(last or first) + 1))
        return sorted(number for number in chosen if number < self.shards)

    def fresh_timeouts_s(self) -> tuple[float, float, float, float]:
        """Return the ages up to which battery, solar, load and EV power are fresh, in seconds."""
        usual = self.fresh_timeout_s
        return (
            usual,
            self.solar_fresh_timeout_s or usual,
            self.load_fresh_timeout_s or usual,
            self.ev_fresh_timeout_s or usual,
        )

    def unknown_timeouts_s(self) -> tuple[float, float, float, float]:
        """Return the ages beyond which nothing is known of the same four, in seconds."""
        battery, solar, load, ev = self.fresh_timeouts_s()
        least = self.unknown_timeout_s
        return max(battery, least), max(solar, least), max(load, least), max(ev, least)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class History(Section):
    """Every sample in Parquet, its roll-ups, and how long each is kept."""

    url: str = key(
        "",
        "where history lives; empty keeps it in data_dir",
        url=True,
        pattern=r"|[A-Za-z][A-Za-z0-9+.\-]*://\S+|/\S.*",
        form="empty, a path, or a URL that fsspec knows, such as s3://bucket/path",
    )
    format: str = key(
        "parquet",
        "plain Parquet files, or a Delta Lake table for machines that share one store",
        choices=("parquet", "delta"),
    )
    write_rows: int = key(
        1_000_000, "samples in memory at which they are written at once", low=1_000, high=20_000_000
    )
    write_every_s: float = key(15.0, "how long a sample waits to be written at most", unit="s", low=0.1)
    snapshot_every_s: float = key(
        900.0, "plant time between two snapshots of what has been taken", unit="s", low=1
    )
    keep_every_s: float = key(
        300.0, "machine time between two passes that merge, roll up and let go", unit="s", low=1
    )
    settle_s: float = key(
        900.0, "how long after its end an hour waits for late samples before it is rolled up", unit="s", low=0
    )
    min_free_bytes: int = key(
        512 << 20,
        "disk that must stay free; below it history waits, and reads on from the journal when there is room",
        unit="bytes",
        low=0,
    )
    raw_days: float = key(90.0, "how long samples are kept; 0 for ever", unit="days", low=0)
    rollup_5min_days: float = key(
        730.0, "how long means of five minutes are kept; 0 for ever", unit="days", low=0
    )
    rollup_1h_days: float = key(0.0, "how long means of hours are kept; 0 for ever", unit="days", low=0)
    learn_silence_every_s: float = key(
        86_400.0,
        "plant time between two tables of silent sites learned from history; 0 for never",
        unit="s",
        low=0,
    )
    learn_silence_days: float = key(
        14.0, "how far back a table of silent sites is learned from", unit="days", low=2.5, high=60
    )
    learn_silence_sites: int = key(
        2_000, "from how many sites at most a table of silent sites is learned", low=40, high=5_000
    )
    query_timeout_s: float = key(30.0, "how long a query may take", unit="s", low=0.1, high=3_600)
    query_memory_mb: int = key(1_000, "memory that a query may use", unit="MB", low=50)
    http_port: int = key(0, "port of the operations endpoint; 0 takes a free one", **_PORT)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Control(Section):
    """The way of an award into the set-points of homes."""

    step_s: float = key(60.0, "plant time between two rounds of set-points", unit="s", low=1, high=3_600)
    lease_s: float = key(
        600.0, "how long a set-point holds when nothing follows it", unit="s", low=1, high=86_400
    )
    slope_frac_per_min: float = key(
        0.2,
        "most by which the power of many homes dispatched together changes in a minute, of their rated power; 0 for no limit",
        low=0,
    )
    slope_kw_per_min: float = key(
        0.0, "the same in kW, for a single big battery too; 0 for no limit", unit="kW/min", low=0
    )
    stagger_frac: float = key(
        0.2,
        "share of a lease over which the ends of leases are spread, so that homes do not stop together",
        low=0,
        high=0.5,
    )
    fairness: float = key(
        0.5,
        "how far what homes gave of late decides who gives how much of a discharge: 0 for not at all, 1 for all of it",
        low=0,
        high=1,
    )
    fairness_days: float = key(
        7.0,
        "how long what a home gave is remembered: after so long a third of it",
        unit="days",
        low=0.1,
        high=90,
    )
    limit_margin_frac: float = key(
        0.02,
        "share of each limit of a feeder, group or connection that stays free for what changes between two rounds",
        low=0,
        high=0.5,
    )
    envelope_stale_s: float = key(
        93_600.0,
        "age of an operating envelope's issue from which on it is not believed, and the static limit holds; 0 for never",
        unit="s",
        low=0,
    )
    sign: bool = key(True, "sign every command; devices that check need keys/command_root.pub")
    tenant: str = key("plant", "whom the devices belong to: a command for another tenant is refused")
    may_release: str = key("", "who may release a kill switch, names with commas; empty for every operator")
    http_port: int = key(0, "port of the operations endpoint; 0 takes a free one", **_PORT)


_NAMED: Final = r"|[^=;\s]+=[^=;\s]+(;[^=;\s]+=[^=;\s]+)*"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Bidding(Section):
    """The durable cycle of forecast, optimisation, bid and award."""

    database_url: str = key("", "database of the bids; empty keeps a file in data_dir", **_DATABASE)
    lead_time_s: float = key(
        3_600.0, "how long before the gate of a day the work on its bid begins", unit="s", low=1
    )
    interval_lead_s: float = key(
        240.0, "the same where every interval has a gate of its own", unit="s", low=1
    )
    early_lead_s: float = key(
        64_800.0,
        "how long before the gate of a day a first bid is made on whatever is known; its better follows; 0 for none",
        unit="s",
        low=0,
    )
    strategies: str = key(
        "",
        "which strategy bids for which resource, `*` for all others: resource=strategy, several with semicolons between; "
        "empty leaves it to the market",
        pattern=_NAMED,
        form="empty, or resource=strategy, several with semicolons between",
    )
    shadows: str = key(
        "",
        "strategies that decide beside it and send nothing: resource=strategy, several with semicolons between",
        pattern=_NAMED,
        form="empty, or resource=strategy, several with semicolons between",
    )
    decide_budget_s: float = key(
        180.0,
        "longest time to gather, forecast and optimise; what a rung of a strategy leaves is for simpler ones",
        unit="s",
        low=0.1,
    )
    submit_budget_s: float = key(
        60.0, "longest time for a submission before it waits for the next turn", unit="s", low=0.1
    )
    availability_frac: float = key(0.95, "share of the forecast capability that is offered", low=0, high=1)
    market_url: str = key(
        "",
        "address of the market; empty for none",
        url=True,
        pattern=r"|https?://\S+",
        form="empty, or http://host:port or https://host:port",
    )
    market_token: str = key("", "what the plant shows to the market", secret=True)
    http_port: int = key(0, "port of the operations endpoint; 0 takes a free one", **_PORT)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Feeds(Section):
    """The public feeds of markets and weather that are polled into the knowledge store."""

    names: str = key(
        "",
        "feeds that the role polls, as `shoal feeds` lists them, with commas between; `*` stands for anything; empty "
        "for none, and then the role is not among all",
        pattern=r"|[A-Za-z0-9*_-]+(,[A-Za-z0-9*_-]+)*",
        form="empty, or names with commas between, such as nem-dispatch,entsoe-*",
    )
    places: str = key(
        "",
        "for which places, as `--place` of `shoal feeds`, with semicolons between; empty for the usual ones",
        pattern=r"|[a-z-]+=[^;\s]+(;[a-z-]+=[^;\s]+)*",
        form="empty, or such as nem=VIC1;ercot=HB_NORTH;met-norway=berlin=52.52,13.405",
    )
    contact: str = key(
        "", "mail or web address that tells providers who asks; else SHOAL_FEEDS_CONTACT of the environment"
    )
    entsoe_token: str = key(
        "",
        "key of the ENTSO-E Transparency Platform; else SHOAL_ENTSOE_TOKEN of the environment",
        secret=True,
    )
    mirrors: str = key(
        "",
        "other places of documents: the beginning of an address = what stands for it, with semicolons between",
        pattern=r"|https?://[^=;\s]+=https?://[^=;\s]+(;https?://[^=;\s]+=https?://[^=;\s]+)*",
        form="empty, or https://theirs=https://ours, several with semicolons between",
    )
    use_proxy: bool = key(True, "whether the proxies that the environment names are used")
    cache_max_bytes: int = key(1 << 30, "disk that copies of documents may take", unit="bytes", low=1 << 20)
    http_port: int = key(0, "port of the operations endpoint; 0 takes a free one", **_PORT)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Api(Section):
    """The HTTP interface and the page."""

    host: str = key("127.0.0.1", "address on which the interface listens")
    port: int = key(8765, "port of the interface; 0 takes a free one", **_PORT)
    token: str = key("", "what a caller shows to the interface", secret=True)
    operators: str = key(
        "",
        "who may act, such as acknowledge alarms, and under which name: a token for each, unlike `token`; without any, "
        "who is at this machine may while there is no `token`, else nobody",
        secret=True,
        pattern=r"|[A-Za-z0-9._-]+:[^\s:,]{12,}(,[A-Za-z0-9._-]+:[^\s:,]{12,})*",
        form="empty, or name:token with tokens of at least 12 characters, several with commas between",
    )
    session_hours: float = key(
        12.0,
        "how long somebody who signs in stays signed in; homeowners stay 30 days",
        unit="h",
        low=0.01,
        high=720,
    )
    four_eyes_above_kw: float = key(
        0.0,
        "orders above this power need a second person, who approves what the first proposes; 0 asks for none",
        unit="kW",
        low=0,
    )
    page_dir: str = key("", "folder of the built page; empty for the one in the package")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Registry(Section):
    """Who is in the fleet."""

    database_url: str = key(
        "", "database of sites, groups and resources; empty keeps a file in data_dir", **_DATABASE
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Demo(Section):
    """The demonstration: a simulated fleet on recorded weather and prices."""

    plants: str = key(
        "all",
        "who takes part: all, only the homes, or only the big battery",
        choices=("all", "homes", "battery"),
    )
    sites: int = key(500, "number of simulated homes", low=1, high=1_000_000)
    from_day: str = key(
        "2021-02-10",
        "first day of the run, local to the market",
        pattern=r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])",
        form="a day, YYYY-MM-DD",
    )
    duration_s: int = key(3 * 86_400, "plant time that the run covers", unit="s", low=60)
    speed: float = key(0.0, "plant time per wall time; 0 goes as fast as the machine allows", low=0, high=1e6)
    seed: int = key(1, "number from which everything random in the run derives", low=0, high=2**63 - 1)
    ev_sites_frac: float = key(
        0.05, "share of the sites that have nothing but an EV charger", low=0, high=0.5
    )
    meter_sites_frac: float = key(0.05, "share of the sites that have nothing but a meter", low=0, high=0.5)
    gateway_frac: float = key(
        0.0, "share of the feeders whose sites speak through one gateway for all of them", low=0, high=1
    )
    step_s: int = key(
        60,
        "plant time between two steps of a conducted run, a part of a minute: what acts every few seconds needs fewer",
        unit="s",
        low=1,
        high=60,
    )
    drop_out_frac: float = key(0.015, "share of the time that a home is offline", low=0, high=0.9)
    drop_out_mean_s: float = key(1_200.0, "mean length of a drop-out", unit="s", low=1)
    loss_frac: float = key(
        0.0, "share of regulation's messages, down and up, that the network loses", low=0, high=0.9
    )
    latency_s: float = key(
        0.0, "mean latency of a regulation broadcast, exponentially distributed", unit="s", low=0, high=60
    )
    cut_after_s: float = key(
        0.0, "plant time into the run at which every site loses the plant", unit="s", low=0
    )
    cut_s: float = key(0.0, "for how long; 0 for no cut", unit="s", low=0)
    island_after_s: float = key(
        0.0, "plant time into the run at which the village loses the grid", unit="s", low=0
    )
    island_s: float = key(0.0, "for how long; 0 for no village in the fleet", unit="s", low=0)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Log(Section):
    """What the processes write about themselves."""

    level: str = key("info", "least level that is written", choices=("debug", "info", "warning", "error"))
    format: str = key("console", "lines for people, or one JSON object a line", choices=("console", "json"))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ClockSource(Section):
    """Where the plant's time comes from."""

    source: str = key(
        "system",
        "the machine's clock, a scaled one that processes share, or a conductor that moves time step by step",
        pattern=r"system|stepped://[^\s:/]+:\d{1,5}|scaled://[^\s?]+\?speed=[^\s&]+&since=[^\s&]+",
        form="system, scaled://ORIGIN?speed=X&since=NOW or stepped://host:port",
    )
    token: str = key("", "what a process shows to the conductor", secret=True)
