"""Rubbish from devices: set aside with a counter and a reason that the API shows; the stream goes on."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest

from shoal.domain.ids import SiteId
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.wire import encode
from shoal.edge import mqtt
from shoal.runtime.settings import Settings
from shoal.runtime.supervisor import Supervisor
from shoal.simulate.fleet import plan_fleet, site_secret
from shoal.store.credentials import seal
from shoal.store.database import open_database
from shoal.store.registry import Registry
from tests.e2e.running import assert_zeros, once_at, run_plant

pytestmark = pytest.mark.slow

SITES = 20
EXPECTED = {
    "unknown_site",
    "schema_version",
    "not_a_number",
    "too_large",
    "malformed_json",
}


def test_bad_input_is_quarantined_with_its_reason_and_the_stream_goes_on(tmp_path: Path) -> None:
    pages: list[str] = []
    seen: list[dict[str, Any]] = []
    money: list[dict[str, Any]] = []

    def send_rubbish(_: Supervisor) -> None:
        settings = Settings.saved(tmp_path / "run" / "settings.json")
        _register_one_more(tmp_path)
        late_site = SiteId(f"home-{SITES + 1:05d}")
        _publish(settings, SiteId("home-00001"), _bad_messages())
        _publish(settings, late_site, [_message()])

    def ask_api(_: Supervisor) -> None:
        seen.append(_get(pages[0], "api/quarantine"))

    rubbish, sent = once_at(0.3, send_rubbish)
    ask, asked = once_at(0.6, ask_api)
    ask_money, asked_money = once_at(25.5 / 26, lambda _: money.extend(_get(pages[0], "api/statements")))

    def act(progress: Any, supervisor: Supervisor) -> None:
        rubbish(progress, supervisor)
        ask(progress, supervisor)
        ask_money(progress, supervisor)

    report = run_plant(tmp_path, sites=SITES, hours=26, page=True, act=act, on_page=pages.append)
    assert sent
    assert asked
    assert asked_money
    assert {statement["resource_id"] for statement in money} == {"vpp-1", "bess-1"}, (
        "the first day is settled"
    )
    assert seen[0]["by_reason"].keys() >= EXPECTED, seen
    assert all(entry["detail"] for entry in seen[0]["recent"])
    assert report["quarantined"] >= len(EXPECTED)
    # a number far ahead of all others, from a clock far ahead of everything, waits for what lies between
    assert report["telemetry"]["deferred"] >= 1
    assert_zeros(report)


def _get(page: str, path: str) -> Any:
    with urlopen(f"{page}{path}", timeout=10) as answer:
        return json.load(answer)


def _message(**values: float) -> bytes:
    record = TELEMETRY.empty(1)
    record["ts_ns"] = 1_600_000_000 * 10**9
    record["seq"] = 2**31
    for name, value in values.items():
        record[name] = value
    return encode(record, oldest_seq=1, version=1)


def _bad_messages() -> list[bytes]:
    wrong_version = bytearray(_message())
    wrong_version[2] = 9
    return [
        bytes(wrong_version),
        _message(soc_frac=np.nan),
        _message(ts_ns=4_000_000_000 * 10**9),
        b"\x00" * (1 << 20),
        b'{"v": 1, "records": [{',
    ]


def _register_one_more(data_dir: Path) -> None:
    """Register a site that the running telemetry role has not heard of."""
    registry = Registry(open_database(f"sqlite:///{data_dir / 'registry.db'}"))
    fleet = plan_fleet(SITES + 1, 1)
    registry.load_fleet(fleet, valid_from_ns=0)
    site = SiteId(f"home-{SITES + 1:05d}")
    secret = site_secret((data_dir / "keys" / "fleet.secret").read_bytes(), site)
    registry.set_credential([site], [seal(secret, created_ns=0, random_bytes=bytes)])


def _publish(settings: Settings, site: SiteId, payloads: list[bytes]) -> None:
    secret = site_secret((settings.data_dir / "keys" / "fleet.secret").read_bytes(), site)
    with socket.create_connection((settings.fabric.host, settings.fabric.mqtt_port), timeout=10) as device:
        device.sendall(mqtt.connect(client_id=f"{site}:probe", username=site, password=secret))
        assert device.recv(4) == b"\x20\x02\x00\x00", "signed in"
        for number, payload in enumerate(payloads, start=1):
            device.sendall(mqtt.publish(f"dev/{site}/tele", payload, qos=1, packet_id=number))
            assert device.recv(4) == b"\x40\x02" + struct.pack(">H", number)
        device.sendall(mqtt.DISCONNECT)
