"""The driver for devices with topics of their own, against a real broker; the device's side speaks by an independent client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from shoal.domain.errors import InvalidInputError, SettingsError, UnavailableError
from shoal.edge.drivers.factory import make_driver
from shoal.edge.drivers.mqtt_site import Command, Mapped, MqttBroker, MqttSite, number_at
from tests.integration.edge.broker import Broker

MEASURED = {
    "battery_w": Mapped(topic="inverter/state", path="battery.power_kw", scale=-1_000.0),
    "soc_frac": Mapped(topic="inverter/state", path="battery.soc", scale=0.01),
    "solar_w": Mapped(topic="inverter/state", path="strings.0", scale=-1.0),
    "grid_w": Mapped(topic="meter/power", scale=1.0),
    "frequency_hz": Mapped(topic="meter/hz"),
}
COMMAND = Command(
    topic="inverter/set",
    payload='{"mode": "forced", "kw": {value}}',
    scale=-0.001,
    release='{"mode": "auto"}',
)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("site-broker"), users={"box": "box-secret", "dev": "dev"}) as running:
        yield running


class Device:
    """The inverter and the meter."""

    def __init__(self, broker: Broker) -> None:
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id="device", protocol=paho.MQTTv311)
        self.client.username_pw_set("dev", "dev")
        self.commands: list[Any] = []
        self.ready = False
        self.client.on_message = lambda *a: self.commands.append(json.loads(a[2].payload))
        self.client.on_subscribe = lambda *a: setattr(self, "ready", True)
        self.client.on_connect = lambda *a: a[0].subscribe("inverter/set")
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()

    def say(self, *, retain: bool = False) -> None:
        state = {"battery": {"power_kw": -3.0, "soc": 54}, "strings": [5_000.4]}
        self.client.publish("inverter/state", json.dumps(state), retain=retain)
        self.client.publish("meter/power", "-1000", retain=retain)
        self.client.publish("meter/hz", "49.98", retain=retain)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def site_of(broker: Broker, **options: Any) -> MqttSite:
    address = MqttBroker(host="127.0.0.1", port=broker.port, username="box", password="box-secret")
    return MqttSite(address, MEASURED, COMMAND, patience_s=0.1, **options)


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(body)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the condition belongs to another thread
            await asyncio.sleep(0.01)


def test_topics_and_paths_give_the_four_numbers_and_take_commands(broker: Broker) -> None:
    async def body() -> None:
        device = Device(broker)
        site = site_of(broker)
        try:
            await until(lambda: device.ready)
            with pytest.raises(UnavailableError):
                await site.read()
            device.say()
            await until(lambda: len(site._fresh()) == 5)
            seen = await site.read()
            assert (seen.solar_w, seen.battery_w, seen.load_w, seen.grid_w) == (-5_000, 3_000, 1_000, -1_000)
            assert seen.soc_frac == pytest.approx(0.54)
            assert seen.frequency_hz == pytest.approx(49.98)
            await site.write(3_000)
            await site.write(-1_250)
            await site.release()
            await until(lambda: len(device.commands) == 3)
            assert device.commands == [
                {"mode": "forced", "kw": -3},
                {"mode": "forced", "kw": 1.25},
                {"mode": "auto"},
            ]
        finally:
            await site.close()
            device.close()

    run(body())


def test_old_values_are_no_measurements(broker: Broker) -> None:
    async def body() -> None:
        now_s = 100.0
        device = Device(broker)
        site = site_of(broker, stale_s=20.0, monotonic_s=lambda: now_s)
        try:
            await until(lambda: device.ready)
            with pytest.raises(UnavailableError):
                await site.read()
            device.say()
            await until(lambda: len(site._fresh()) == 5)
            now_s += 15.0
            device.client.publish("meter/power", "700")
            device.client.publish("meter/power", "not a number")
            await until(lambda: site._fresh().get("grid_w") == 700)
            now_s += 10.0
            seen = await site.read()
            assert (seen.grid_w, seen.battery_w, seen.load_w) == (700, None, None)
            now_s += 30.0
            with pytest.raises(UnavailableError):
                await site.read()
        finally:
            await site.close()
            device.close()

    run(body())


def test_broker_that_was_away_is_found_again(tmp_path: Path) -> None:
    async def body() -> None:
        broker = Broker(tmp_path, users={"box": "box-secret", "dev": "dev"})
        site = site_of(broker)
        with pytest.raises(UnavailableError):
            await site.read()
        with pytest.raises(UnavailableError):
            await site.write(100)
        with broker:
            device = Device(broker)
            await until(lambda: device.ready and site._writer is not None)
            device.say()
            await until(lambda: len(site._fresh()) == 5)
            device.close()
            broker.stop()
            await until(lambda: site._writer is None)
        await site.close()

    run(body())


def test_mapping_from_a_configuration_is_checked() -> None:
    section: dict[str, Any] = {
        "kind": "mqtt",
        "broker": {"host": "127.0.0.1"},
        "measured": {"battery_w": {"topic": "a", "path": "b"}},
        "command": {"topic": "c"},
    }
    assert isinstance(make_driver(section, revert_s=60, stale_s=30, password="x"), MqttSite)
    mistakes: tuple[dict[str, Any], ...] = (
        {"measured": {"battery_power": {"topic": "a"}}},
        {"measured": {}},
        {"measured": {"battery_w": {"path": "a"}}},
        {"command": {"topic": "c", "payload": "on"}},
        {"kind": "telepathy"},
        {"surprise": 1},
    )
    for wrong in mistakes:
        with pytest.raises(SettingsError):
            make_driver({**section, **wrong}, revert_s=60, stale_s=30)
    with pytest.raises(InvalidInputError):
        MqttSite(MqttBroker(host="x"), {})


@pytest.mark.parametrize(
    ("payload", "path", "number"),
    [
        (b"3.5", "", 3.5),
        (b'"3.5"', "", 3.5),
        (b'{"a": [1, {"b": 2}]}', "a.1.b", 2.0),
        (b'{"a": 1}', "b", None),
        (b'{"a": 1}', "a.b", None),
        (b"[1]", "x", None),
        (b"[1]", "4", None),
        (b"true", "", None),
        (b"null", "", None),
        (b'"NaN"', "", None),
        (b"1e999", "", None),
        (b"\xff", "", None),
    ],
)
def test_number_at_a_path_is_a_number_or_nothing(payload: bytes, path: str, number: float | None) -> None:
    assert number_at(payload, path) == number
