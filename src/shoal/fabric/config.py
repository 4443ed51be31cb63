"""The configuration of the server: a pure function of options and public keys; no secret is in its text.

Each role may do what its work needs and nothing else. A list that is empty would mean "everything" to the server, so
an empty right is written as a denial of everything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal.domain.errors import SettingsError
from shoal.fabric.keys import Role
from shoal.fabric.subjects import (
    ANSWER_ALL,
    ANSWER_BEHIND_ALL,
    ASK_ALARMS,
    ASK_ALL,
    ASK_HOMES,
    DEVICE_MAPPING,
    FLEET_GROUP,
    HELLO_ALL,
    HISTORY_GROUP,
    LIVE_ALL,
    LIVE_CONTROL,
    LIVE_GROUP,
    LIVE_HISTORY,
    LIVE_MONEY,
    LIVE_PRICES,
    LIVE_RESOURCES,
    LIVE_RUNS,
    MOST_SHARDS,
    OWNERS_STREAM,
    PACE,
    PRICES_ALL,
    QUARANTINE_STREAM,
    QUARANTINE_SUBJECTS,
    READING_ALL,
    READING_BEHIND_ALL,
    REGULATION_ALL,
    REPORT_ALL,
    REPORT_BEHIND_ALL,
    SIGNAL_ALL,
    SILENCE_GROUP,
    SNAPSHOTS_STREAM,
    SUMS_ALL,
    changed_subject,
    member_subject,
    register_subject,
    telemetry_stream,
)

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
ANY_HOST: Final = frozenset({"0.0.0.0", "::", ""})
PLANT_ACCOUNT: Final = "PLANT"
AUTH_ACCOUNT: Final = "AUTH"
SYSTEM_ACCOUNT: Final = "SYS"

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_SIGN_IN_TIMEOUT_S: Final = 5
"""A burst of sign-ins waits for the callout, and the server's own 2 s would refuse the tail of it; yet a device that
asks in the moment before the callout is back waits this long in vain before it tries again."""
_INGEST_MESSAGES: Final = 1_000_000
_INGEST_BYTES: Final = 256 * _MIB
"""What may wait to be stored. Beyond it the server drops (and devices send again); its own 10,000 messages are soon
reached when a fleet comes back at once, for nothing slows a device that waits for no acknowledgement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of one listener; with `ca` given, clients must show a certificate signed by it."""

    cert: Path
    key: Path
    ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricOptions:
    """Settings of the server.

    Attributes:
        store_dir: Directory of the journal, the pid file, the generated configuration and the log.
        host: Address that the three listeners bind to.
        client_port: NATS clients; 0 for a free port, as for the other three.
        mqtt_port: MQTT devices.
        websocket_port: NATS and MQTT over WebSocket.
        monitoring_port: HTTP monitoring, always on loopback.
        max_payload_bytes: Largest message.
        max_file_bytes: Disk that the journal may take in all.
        client_tls: Certificate of the client listener; None for plain text.
        mqtt_tls: The same for MQTT.
        websocket_tls: The same for WebSocket.
        plain_text_beyond_loopback: Whether listeners without TLS may bind to other addresses than loopback;
            for a network that something else encrypts.
        sync_interval_s: Time between fsyncs of the journal, in seconds; 0 syncs each write. Killing the server
            loses nothing either way; a power cut may lose this much.
        processors: How many processors the server uses at once; 0 for all.
        server_name: Shown in monitoring; each server of a cluster has one of its own.
        cluster_name: The same on each server of a cluster; empty for a server that stands alone.
        cluster_port: Where the other servers of the cluster connect, on the address `host`.
        routes: Addresses ``nats://host:cluster_port`` of the servers of the cluster, this one among them or not.
        cluster_tls: Certificate of the routes, with the authority of the cluster in `ca`: who shows no certificate of
            that authority is no server of this cluster. None for plain text.
    """

    store_dir: Path
    host: str = "127.0.0.1"
    client_port: int = 4222
    mqtt_port: int = 1883
    websocket_port: int = 9222
    monitoring_port: int = 8222
    max_payload_bytes: int = 8 * _MIB
    max_file_bytes: int = 16 * _GIB
    client_tls: TlsFiles | None = None
    mqtt_tls: TlsFiles | None = None
    websocket_tls: TlsFiles | None = None
    plain_text_beyond_loopback: bool = False
    sync_interval_s: float = 10.0
    processors: int = 0
    server_name: str = "shoal"
    cluster_name: str = ""
    cluster_port: int = 6222
    routes: tuple[str, ...] = ()
    cluster_tls: TlsFiles | None = None

    @property
    def jetstream_dir(self) -> Path:
        """Where the server keeps the journal, inside `store_dir`."""
        return self.store_dir / "jetstream"

    @property
    def pid_file(self) -> Path:
        """The file in which the running server leaves its process id."""
        return self.store_dir / "nats-server.pid"

    @property
    def log_file(self) -> Path:
        """The server's own log."""
        return self.store_dir / "nats-server.log"

    @property
    def local_host(self) -> str:
        """The address at which this machine reaches the listeners."""
        return "127.0.0.1" if self.host in ANY_HOST else self.host


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What a role may publish and subscribe to; `answers` lets it reply to requests that it received."""

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    answers: bool = False


_ASK_TWINS: Final = "ask.twin.*"
_JOURNALS: Final = tuple(telemetry_stream(shard) for shard in range(MOST_SHARDS))
_JOURNAL_INFO: Final = tuple(f"$JS.API.STREAM.INFO.{name}" for name in _JOURNALS)
_READ_FLEET: Final = (
    f"$JS.API.STREAM.MSG.GET.{OWNERS_STREAM}",
    f"$JS.API.DIRECT.GET.{SNAPSHOTS_STREAM}.snap.{FLEET_GROUP}.>",
)


def _owner_of(group: str) -> tuple[str, ...]:
    """What a member of `group` publishes to own units of it and to keep their snapshots."""
    return (
        register_subject(group, ">"),
        member_subject(group, "*"),
        changed_subject(group),
        f"snap.{group}.>",
        f"$JS.API.DIRECT.GET.{OWNERS_STREAM}",
        f"$JS.API.STREAM.MSG.GET.{OWNERS_STREAM}",
        f"$JS.API.DIRECT.GET.{SNAPSHOTS_STREAM}.snap.{group}.>",
        f"$JS.API.STREAM.PURGE.{SNAPSHOTS_STREAM}",
    )


RIGHTS: Final[Mapping[Role, Rights]] = {
    Role.FABRIC: Rights(
        publish=("$JS.API.>", register_subject(FLEET_GROUP, ">"), f"snap.{FLEET_GROUP}.>"),
    ),
    Role.TELEMETRY: Rights(
        publish=(
            *_JOURNAL_INFO,
            f"$JS.API.STREAM.INFO.{QUARANTINE_STREAM}",
            LIVE_ALL,
            QUARANTINE_SUBJECTS,
            "to.*.durable",
            "to.*.*.durable",
            "to.*.schema",
            *_READ_FLEET,
            SUMS_ALL,
            PACE,
            *_owner_of(LIVE_GROUP),
        ),
        subscribe=(
            _ASK_TWINS,
            ASK_ALARMS,
            SUMS_ALL,
            HELLO_ALL,
            LIVE_RESOURCES,
            LIVE_HISTORY,
            changed_subject(LIVE_GROUP),
        ),
        answers=True,
    ),
    Role.HISTORY: Rights(
        publish=(
            *_JOURNAL_INFO,
            *_READ_FLEET,
            *_owner_of(HISTORY_GROUP),
            register_subject(SILENCE_GROUP, ">"),
            LIVE_HISTORY,
        ),
        subscribe=(changed_subject(HISTORY_GROUP),),
    ),
    # An identity of its own: the server keeps a book of every message that one who answers could answer, and the
    # journal's messages would fill it.
    Role.JOURNAL: Rights(
        publish=(
            *_JOURNAL_INFO,
            *(f"$JS.API.CONSUMER.CREATE.{name}.>" for name in _JOURNALS),
            *(f"$JS.API.CONSUMER.MSG.NEXT.{name}.*" for name in _JOURNALS),
            *(f"$JS.API.CONSUMER.DELETE.{name}.*" for name in _JOURNALS),
        ),
    ),
    Role.CONTROL: Rights(
        publish=(
            "to.*.desired",
            "to.*.*.desired",
            "to.*.orders",
            "to.*.*.orders",
            LIVE_RESOURCES,
            LIVE_CONTROL,
            _ASK_TWINS,
            *_READ_FLEET,
        ),
        subscribe=(LIVE_ALL, REPORT_ALL, REPORT_BEHIND_ALL, ASK_HOMES),
        answers=True,
    ),
    Role.REGULATION: Rights(
        publish=("to.*.regulation", "to.*.*.regulation", REGULATION_ALL, _ASK_TWINS, *_READ_FLEET),
        subscribe=(SIGNAL_ALL, READING_ALL, READING_BEHIND_ALL),
    ),
    Role.SIGNAL: Rights(publish=(SIGNAL_ALL,)),
    # Who searches asks and hears sums; what a single home would do it has no right to hear.
    Role.PRICES: Rights(publish=(PRICES_ALL, LIVE_PRICES, _ASK_TWINS, *_READ_FLEET)),
    Role.ADDER: Rights(
        publish=("to.*.prices", "to.*.*.prices"),
        subscribe=(PRICES_ALL, ANSWER_ALL, ANSWER_BEHIND_ALL),
        answers=True,
    ),
    Role.BIDDING: Rights(publish=(LIVE_RUNS, LIVE_MONEY, _ASK_TWINS, *_READ_FLEET), subscribe=(LIVE_ALL,)),
    Role.API: Rights(
        publish=(
            ASK_ALL,
            *_JOURNAL_INFO,
            *_READ_FLEET,
            f"$JS.API.STREAM.INFO.{QUARANTINE_STREAM}",
            f"$JS.API.DIRECT.GET.{OWNERS_STREAM}",
        ),
        subscribe=(LIVE_ALL,),
    ),
    Role.OBSERVER: Rights(subscribe=(LIVE_ALL,)),
}
"""Of the roles in the plant's account."""

GUARD_RIGHTS: Final = Rights(publish=("$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.*.KICK"))
"""In the server's own account: to see connections and to end them."""


def render(options: FabricOptions, *, publics: Mapping[Role, str], issuer: str) -> str:
    """Return the server's configuration text.

    Args:
        options: Settings; its ports are written as they are.
        publics: Public key of each role.
        issuer: Public key of the account key that signs device identities.

    Raises:
        SettingsError: when a listener without TLS would bind beyond loopback, or the routes would let strangers in.
    """
    _check_plain_text(options)
    _check_routes(options)
    return "\n".join(
        (
            f"server_name: {_text(options.server_name)}",
            f"listen: {_text(_address(options.host, options.client_port))}",
            f"http: {_text(_address('127.0.0.1', options.monitoring_port))}",
            f"max_payload: {options.max_payload_bytes}",
            f"pid_file: {_text(str(options.pid_file))}",
            f"log_file: {_text(str(options.log_file))}",
            f"logfile_size_limit: {16 * _MIB}",
            "logfile_max_num: 4",
            *_tls(options.client_tls),
            "jetstream {",
            f"  store_dir: {_text(str(options.store_dir))}",
            f"  max_file_store: {options.max_file_bytes}",
            f"  sync_interval: {_sync(options.sync_interval_s)}",
            f"  max_buffered_msgs: {_INGEST_MESSAGES}",
            f"  max_buffered_size: {_INGEST_BYTES}",
            "}",
            "mqtt {",
            f"  listen: {_text(_address(options.host, options.mqtt_port))}",
            f"  authorization {{ timeout: {_SIGN_IN_TIMEOUT_S} }}",
            *_tls(options.mqtt_tls),
            "}",
            "websocket {",
            f"  listen: {_text(_address(options.host, options.websocket_port))}",
            f"  authorization {{ timeout: {_SIGN_IN_TIMEOUT_S} }}",
            *(_tls(options.websocket_tls) or ["  no_tls: true"]),
            "}",
            *_cluster(options),
            *_accounts(publics),
            "authorization {",
            f"  timeout: {_SIGN_IN_TIMEOUT_S}",
            "  auth_callout {",
            f"    issuer: {issuer}",
            f"    account: {AUTH_ACCOUNT}",
            f"    auth_users: [{', '.join(publics[role] for role in Role)}]",
            "  }",
            "}",
            "",
        )
    )


def _accounts(publics: Mapping[Role, str]) -> list[str]:
    source, destination = DEVICE_MAPPING
    return [
        "accounts {",
        f"  {AUTH_ACCOUNT} {{ users: [ {{ nkey: {publics[Role.CALLOUT]} }} ] }}",
        f"  {PLANT_ACCOUNT} {{",
        "    jetstream: enabled",
        f"    mappings {{ {_text(source)}: {_text(destination)} }}",
        "    users: [",
        *(_user(publics[role], rights) for role, rights in RIGHTS.items()),
        "    ]",
        "  }",
        f"  {SYSTEM_ACCOUNT} {{",
        "    users: [",
        _user(publics[Role.GUARD], GUARD_RIGHTS),
        "    ]",
        "  }",
        "}",
        f"system_account: {SYSTEM_ACCOUNT}",
    ]


def _cluster(options: FabricOptions) -> list[str]:
    """Return the section of the routes; accounts and rights are the same text on each server of a cluster."""
    if not options.cluster_name:
        return []
    return [
        "cluster {",
        f"  name: {_text(options.cluster_name)}",
        f"  listen: {_text(_address(options.host, options.cluster_port))}",
        f"  routes: [{', '.join(_text(route) for route in options.routes)}]",
        *_tls(options.cluster_tls),
        "}",
    ]


def _user(public: str, rights: Rights) -> str:
    subscribe = (*rights.subscribe, f"_INBOX.{public}.>")
    answers = ", allow_responses: true" if rights.answers else ""
    return (
        f"      {{ nkey: {public}, permissions: {{ publish: {_subjects(rights.publish)}, "
        f"subscribe: {_subjects(subscribe)}{answers} }} }}"
    )


def _subjects(subjects: tuple[str, ...]) -> str:
    if not subjects:
        return '{ deny: [">"] }'
    return f"{{ allow: [{', '.join(_text(subject) for subject in subjects)}] }}"


def _tls(files: TlsFiles | None) -> list[str]:
    if files is None:
        return []
    lines = [f"    cert_file: {_text(str(files.cert))}", f"    key_file: {_text(str(files.key))}"]
    if files.ca is not None:
        lines += [f"    ca_file: {_text(str(files.ca))}", "    verify: true"]
    return ["  tls {", *lines, "  }"]


def _check_plain_text(options: FabricOptions) -> None:
    if options.host in LOOPBACK or options.plain_text_beyond_loopback:
        return
    for name in ("client_tls", "mqtt_tls", "websocket_tls"):
        if getattr(options, name) is None:
            raise SettingsError(
                field=f"fabric.{name}",
                value=None,
                fix=f"give a certificate to listen on {options.host!r}, or bind to 127.0.0.1",
            )


def _check_routes(options: FabricOptions) -> None:
    """Who reaches a route and is let in reads everything, so beyond loopback only certificates open it."""
    if not options.cluster_name or options.host in LOOPBACK or options.plain_text_beyond_loopback:
        return
    if options.cluster_tls is None or options.cluster_tls.ca is None:
        raise SettingsError(
            field="fabric.cluster_tls",
            value=options.cluster_tls,
            fix=f"give a certificate and its authority to join a cluster on {options.host!r}",
        )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _sync(interval_s: float) -> str:
    return "always" if interval_s <= 0 else _text(f"{interval_s:g}s")


def _text(value: str) -> str:
    """Quote a string; the server reads the same escapes as JSON for these characters."""
    return json.dumps(value, ensure_ascii=False)
