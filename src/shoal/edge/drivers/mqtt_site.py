"""A site whose devices speak MQTT with topics of their own: a mapping says where each measurement lies.

The driver keeps a session with the site's broker and remembers the latest value of each measurement with its age. One
that has become old, or that a broker had only kept from before, is not a measurement.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from shoal.domain.errors import InvalidInputError, UnavailableError, WireFormatError
from shoal.edge import mqtt
from shoal.edge.drivers.protocol import Measurement, Parameters, completed

VALUE: Final = "{value}"
_KEEP_ALIVE_S: Final = 30
_RETRY_S: Final = (0.25, 15.0)
_READ_BYTES: Final = 65_536
_FRACTIONS: Final = ("soc_frac", "frequency_hz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """Where a measurement lies.

    Attributes:
        topic: The topic, without wildcards.
        path: Keys into the JSON object, joined by dots; empty when the message is the number.
        scale: Factor to the unit and sign of `Measurement`: -1000 for kW that are positive when discharging.
    """

    topic: str
    path: str = ""
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How the battery is commanded.

    Attributes:
        topic: Where to.
        payload: The message, with ``{value}`` where the number goes.
        scale: Factor from watts, charging positive, to that number.
        release: The message that gives the battery back to its own control; none when empty.
    """

    topic: str
    payload: str = VALUE
    scale: float = 1.0
    release: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttBroker:
    """The site's broker, which is not the plant's."""

    host: str
    port: int = 1883
    username: str = ""
    password: str = ""
    client_id: str = "shoal-edge"
    tls: bool = False


class MqttSite:
    """The driver.

    Args:
        broker: The site's broker.
        measured: Where each measurement lies, by its name in `Measurement`.
        command: How the battery is commanded; None for a site that is only measured.
        stale_s: Age at which a value no longer counts.
        patience_s: How long to wait for a first value.
        monotonic_s: Wall time in seconds, for ages.

    Raises:
        InvalidInputError: when a name is none of `Measurement`, or a command has no place for its number.
    """

    def __init__(
        self,
        broker: MqttBroker,
        measured: Mapping[str, Mapped],
        command: Command | None = None,
        *,
        stale_s: float = 30.0,
        patience_s: float = 1.0,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        unknown = set(measured) - set(Measurement.__slots__)
        if unknown or not measured:
            names = ", ".join(Measurement.__slots__)
            raise InvalidInputError(
                field="driver.measured", value=sorted(unknown), fix=f"choose from {names}"
            )
        if command is not None and VALUE not in command.payload:
            raise InvalidInputError(
                field="driver.command.payload",
                value=command.payload,
                fix=f"put {VALUE} where the number goes",
            )
        self._broker = broker
        self._measured = dict(measured)
        self._command = command
        self._stale_s = stale_s
        self._patience_s = patience_s
        self._monotonic_s = monotonic_s
        self._seen: dict[str, tuple[float, float]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._running: asyncio.Task[None] | None = None
        self._why = "not connected yet"
        self._changed = asyncio.Event()

    async def read(self) -> Measurement:
        """Return the values that are fresh; see `Driver`."""
        self._ensure_running()
        if not self._fresh():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s):
                    while not self._fresh():
                        self._changed.clear()
                        await self._changed.wait()
        fresh = self._fresh()
        if not fresh:
            raise UnavailableError(self._where, self._why)
        values: dict[str, Any] = {
            name: value if name in _FRACTIONS else round(value) for name, value in fresh.items()
        }
        return completed(Measurement(**values))

    async def write(self, battery_w: int) -> None:
        """Ask the battery for a power, charging positive; see `Driver`."""
        if self._command is None:
            raise UnavailableError(self._where, "no command is configured")
        scaled = battery_w * self._command.scale
        number = str(round(scaled)) if scaled == round(scaled) else f"{scaled:.6g}"
        await self._publish(self._command.topic, self._command.payload.replace(VALUE, number))

    async def release(self) -> None:
        """Give the battery back to its own control; see `Driver`."""
        if self._command is not None and self._command.release:
            await self._publish(self._command.topic, self._command.release)

    async def parameters(self) -> Parameters:
        """Return nothing: such devices do not say."""
        return Parameters()

    async def close(self) -> None:
        """End the session."""
        task, self._running = self._running, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    @property
    def _where(self) -> str:
        return f"MQTT broker of the site {self._broker.host}:{self._broker.port}"

    def _fresh(self) -> dict[str, float]:
        now_s = self._monotonic_s()
        return {name: value for name, (value, at_s) in self._seen.items() if now_s - at_s <= self._stale_s}

    async def _publish(self, topic: str, payload: str) -> None:
        self._ensure_running()
        writer = self._writer
        if writer is None:
            raise UnavailableError(self._where, self._why)
        try:
            writer.write(mqtt.publish(topic, payload.encode()))
            async with asyncio.timeout(3.0):
                await writer.drain()
        except (OSError, TimeoutError) as error:
            raise UnavailableError(self._where, str(error) or "no answer in time") from error

    def _ensure_running(self) -> None:
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._keep_connected())

    async def _keep_connected(self) -> None:
        wait_s = _RETRY_S[0]
        while True:
            try:
                await self._session()
            except (OSError, TimeoutError, asyncio.IncompleteReadError, WireFormatError) as error:
                self._why = str(error) or "no answer in time"
            except UnavailableError as error:
                self._why = error.why
            else:
                wait_s = _RETRY_S[0]
            self._writer = None
            await asyncio.sleep(wait_s)
            wait_s = min(2.0 * wait_s, _RETRY_S[1])

    async def _session(self) -> None:
        broker = self._broker
        context = ssl.create_default_context() if broker.tls else None
        async with asyncio.timeout(10.0):
            reader, writer = await asyncio.open_connection(broker.host, broker.port, ssl=context)
        try:
            hello = mqtt.connect(
                client_id=broker.client_id,
                username=broker.username or None,
                password=broker.password if broker.username else None,
                keep_alive_s=_KEEP_ALIVE_S,
            )
            topics = sorted({place.topic for place in self._measured.values()})
            writer.write(hello + mqtt.subscribe(1, [(topic, 0) for topic in topics]))
            parser = mqtt.PacketParser()
            await self._listen(reader, writer, parser)
        finally:
            self._writer = None
            # without waiting for what a dead broker will never take
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _listen(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, parser: mqtt.PacketParser
    ) -> None:
        """Take in what comes until the session ends; a broker that says nothing for long is gone."""
        loop = asyncio.get_running_loop()
        next_ping_s = loop.time() + _KEEP_ALIVE_S / 2
        while True:
            try:
                async with asyncio.timeout_at(next_ping_s):
                    data = await reader.read(_READ_BYTES)
            except TimeoutError:
                writer.write(mqtt.PINGREQ)
                async with asyncio.timeout(_KEEP_ALIVE_S / 2):
                    data = await reader.read(_READ_BYTES)
            if loop.time() >= next_ping_s:
                next_ping_s = loop.time() + _KEEP_ALIVE_S / 2
            if not data:
                self._why = "the broker ended the session"
                return
            for packet in parser.feed(data):
                self._take(packet, writer)

    def _take(self, packet: mqtt.Packet, writer: asyncio.StreamWriter) -> None:
        if isinstance(packet, mqtt.ConnAck):
            if packet.code:
                raise UnavailableError(self._where, f"sign-in refused with code {packet.code}")
        elif isinstance(packet, mqtt.SubAck):
            if mqtt.SUBSCRIPTION_REFUSED in packet.codes:
                raise UnavailableError(self._where, "a topic may not be read")
            self._writer = writer
        elif isinstance(packet, mqtt.Publish) and not packet.retain:
            self._note(packet)

    def _note(self, packet: mqtt.Publish) -> None:
        at_s = self._monotonic_s()
        topic = packet.topic.decode("utf-8", "replace")
        for name, place in self._measured.items():
            if place.topic != topic:
                continue
            value = number_at(packet.payload, place.path)
            if value is not None:
                self._seen[name] = (value * place.scale, at_s)
                self._changed.set()


def number_at(payload: bytes, path: str) -> float | None:
    """Return the number at a path into a JSON message, None when there is none."""
    try:
        found = msgspec.json.decode(payload)
        for key in path.split(".") if path else ():
            found = found[int(key)] if isinstance(found, list) else found[key]
        if isinstance(found, bool):
            return None
        value = float(found)
    except (
        msgspec.DecodeError,
        UnicodeDecodeError,
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        OverflowError,
    ):
        return None
    return value if math.isfinite(value) else None
