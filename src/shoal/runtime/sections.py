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
    sync_always: bool = key(False, "whether every journal write reaches the disk before it is acknowledged")
    tls_cert: str = key("", "file of the engine's certificate (PEM); empty serves without TLS")
    tls_key: str = key("", "file of the certificate's private key (PEM)")
    tls_ca: str = key("", "file of the authority (PEM) that the engine's certificate is checked against")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Telemetry(Section):
    """The way of a sample from the journal into the twins."""

    shards: int = key(1, "number of shards that share the twins", low=1, high=64)
    fresh_timeout_s: float = key(180.0, "age after which a measurement is stale", unit="s", low=1)
    unknown_timeout_s: float = key(900.0, "age after which nothing is known of a site", unit="s", low=1)
    checkpoint_every_s: float = key(3_600.0, "plant time between two checkpoints of a shard", unit="s", low=1)
    durable_ack_every_s: float = key(
        600.0, "plant time between two answers that samples are safe", unit="s", low=0.1
    )
    max_clock_ahead_s: float = key(
        300.0, "how far a device's clock may run ahead before it is refused", unit="s", low=0
    )
    http_port: int = key(0, "port of the operations endpoint; 0 takes a free one", **_PORT)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Control(Section):
    """The way of an award into the set-points of homes."""

    step_s: float = key(60.0, "plant time between two rounds of set-points", unit="s", low=1, high=3_600)
    lease_s: float = key(
        600.0, "how long a set-point holds when nothing follows it", unit="s", low=1, high=86_400
    )
    http_port: int = key(0, "port of the operations endpoint; 0 takes a free one", **_PORT)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Bidding(Section):
    """The durable cycle of forecast, optimisation, bid and award."""

    database_url: str = key("", "database of the bids; empty keeps a file in data_dir", **_DATABASE)
    lead_time_s: float = key(3_600.0, "how long before a gate the work on its bid begins", unit="s", low=1)
    forecast_budget_s: float = key(
        60.0, "longest time for a forecast before an older one serves", unit="s", low=0.1
    )
    optimise_budget_s: float = key(
        120.0, "longest time for a solve before a simpler one serves", unit="s", low=0.1
    )
    submit_budget_s: float = key(
        60.0, "longest time for a submission before it is read back", unit="s", low=0.1
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
class Api(Section):
    """The HTTP interface and the page."""

    host: str = key("127.0.0.1", "address on which the interface listens")
    port: int = key(8765, "port of the interface; 0 takes a free one", **_PORT)
    token: str = key("", "what a caller shows to the interface", secret=True)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Registry(Section):
    """Who is in the fleet."""

    database_url: str = key(
        "", "database of sites, groups and resources; empty keeps a file in data_dir", **_DATABASE
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Demo(Section):
    """The demonstration: a simulated fleet on recorded weather and prices."""

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
