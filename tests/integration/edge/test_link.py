"""Many sessions on one selector: against a real broker, and against hand-made peers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.domain.ids import SiteId
from shoal.edge import mqtt
from shoal.edge.downlink import Message
from shoal.edge.link import Links, LinkSettings, Phase
from tests.integration.edge.broker import Broker, free_port

QUICK = LinkSettings(backoff_base_s=0.02, backoff_cap_s=0.1, connect_timeout_s=5.0)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


def sites(count: int, prefix: str) -> list[SiteId]:
    return [SiteId(f"{prefix}-{number}") for number in range(count)]


def links_to(
    port: int,
    count: int,
    prefix: str,
    *,
    keep_alive_s: int = 60,
    settings: LinkSettings = QUICK,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    monotonic_s: Callable[[], float] = time.monotonic,
) -> Links:
    return Links(
        host,
        port,
        sites(count, prefix),
        ["secret"] * count,
        tls=tls,
        keep_alive_s=keep_alive_s,
        rng_seed=1,
        monotonic_s=monotonic_s,
        settings=settings,
    )


def poll_until(links: Links, condition: Callable[[], bool], within_s: float = 10.0) -> list[Message]:
    """Poll until the condition holds; fail when that takes too long."""
    messages: list[Message] = []
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, links.statistics()
        messages += links.poll(0.05)
    return messages


class Plant:
    """A client that subscribes to everything and sends to anyone."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.parser = mqtt.PacketParser()
        self.got: list[mqtt.Packet] = []
        self.socket.sendall(mqtt.connect(client_id="plant") + mqtt.subscribe(1, [("dev/+/tele", 0)]))
        self.wait_packets(2)
        self.got.clear()

    def wait_packets(self, count: int) -> None:
        while len(self.got) < count:
            data = self.socket.recv(65_536)
            assert data
            self.got += self.parser.feed(data)

    def send(self, topic: str, payload: bytes) -> None:
        self.socket.sendall(mqtt.publish(topic, payload))


@pytest.fixture
def plant(broker: Broker) -> Iterator[Plant]:
    plant = Plant(broker.port)
    yield plant
    plant.socket.close()


def test_links_carry_telemetry_up_and_commands_down(broker: Broker, plant: Plant) -> None:
    with links_to(broker.port, 50, "many") as links:
        assert not links.publish(0, b"early")
        links.connect_all(10_000)
        poll_until(links, lambda: bool(links.up.all()))
        assert links.went_up().tolist() == list(range(50))
        assert links.went_up().tolist() == []
        rows = np.array([3, 1, 49])
        assert links.publish_many(rows, [b"three", b"one", b"x" * 20_000]) == 3
        plant.wait_packets(3)
        got = {packet.topic: packet.payload for packet in plant.got if isinstance(packet, mqtt.Publish)}
        assert got == {
            b"dev/many-3/tele": b"three",
            b"dev/many-1/tele": b"one",
            b"dev/many-49/tele": b"x" * 20_000,
        }
        for row in range(50):
            plant.send(f"to/many-{row}/desired", b"d%d" % row)
            plant.send(f"to/many-{row}/durable", b"s%d" % row)
            plant.send(f"to/many-{row}/other", b"ignored")
        messages = poll_until(
            links, lambda: (links.statistics().received, links.statistics().unexpected) == (100, 50)
        )
        assert sorted(messages) == sorted(
            Message(row, kind, b"%c%d" % (initial, row))
            for row in range(50)
            for kind, initial in (("desired", b"d"), ("durable", b"s"))
        )
        statistics = links.statistics()
        assert (statistics.published, statistics.not_published, statistics.received) == (3, 1, 100)
        assert (statistics.up, statistics.attempts, statistics.dropped_by_reason) == (50, 50, {})


def test_links_answer_commands_for_a_device_and_for_a_site_behind_it(broker: Broker, plant: Plant) -> None:
    names = [SiteId("answer-0"), SiteId("answer-1")]
    links = Links(
        "127.0.0.1", broker.port, names, ["x"] * 2, tls=None, keep_alive_s=60, rng_seed=1, gateways=[1]
    )
    with links:
        assert not links.publish_answer(0, b"early")
        links.connect_all(10_000)
        poll_until(links, lambda: bool(links.up.all()))
        plant.socket.sendall(mqtt.subscribe(2, [("dev/+/report", 0), ("dev/+/+/report", 0)]))
        plant.wait_packets(1)
        assert links.publish_answer(0, b"mine")
        plant.wait_packets(2)
        assert links.publish_answer(1, b"behind", unit=7)
        plant.wait_packets(3)
        said = [(packet.topic, packet.payload) for packet in plant.got if isinstance(packet, mqtt.Publish)]
        assert said == [(b"dev/answer-0/report", b"mine"), (b"dev/answer-1/7/report", b"behind")]
        plant.send("to/answer-0/orders", b"{}")
        plant.send("to/answer-1/7/orders", b"{}")
        heard = poll_until(links, lambda: links.statistics().received == 2)
        assert sorted(heard) == [Message(0, "orders", b"{}", 0), Message(1, "orders", b"{}", 7)]


def test_links_say_hello_and_hear_answers_the_pace_and_what_is_for_sites_behind_them(
    broker: Broker, plant: Plant
) -> None:
    names = [SiteId("wide-0"), SiteId("wide-1")]
    links = Links(
        "127.0.0.1", broker.port, names, ["x"] * 2, tls=None, keep_alive_s=60, rng_seed=1, gateways=[1]
    )
    with links:
        assert not links.publish_hello(0, b"early")
        links.connect_all(10_000)
        poll_until(links, lambda: bool(links.up.all()))
        plant.socket.sendall(mqtt.subscribe(2, [("dev/+/hello", 0)]))
        plant.wait_packets(1)
        assert links.publish_hello(1, b"hello")
        plant.wait_packets(2)
        said = plant.got[1]
        assert isinstance(said, mqtt.Publish)
        assert (said.topic, said.payload) == (b"dev/wide-1/hello", b"hello")
        for topic in (
            "to/wide-0/schema",
            "to/wide-0/7/desired",
            "to/wide-1/7/desired",
            "to/wide-1/x/durable",
        ):
            plant.send(topic, b"a")
        plant.send("to/wide-1/65535/durable", b"b")
        plant.send("all/pace", b"c")
        messages = poll_until(links, lambda: links.statistics().received == 5)
        assert sorted(messages) == [
            Message(0, "pace", b"c"),
            Message(0, "schema", b"a"),
            Message(1, "desired", b"a", 7),
            Message(1, "durable", b"b", 65_535),
            Message(1, "pace", b"c"),
        ]
        assert links.statistics().unexpected == 1


def test_links_come_back_after_the_broker_was_killed(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker, links_to(broker.port, 20, "again") as links:
        links.connect_all(10_000)
        poll_until(links, lambda: bool(links.up.all()))
        links.went_up()
        broker.stop()
        poll_until(links, lambda: not links.up.any())
        poll_until(links, lambda: links.statistics().attempts >= 60)
        assert links.publish_many(np.arange(20), [b"x"] * 20) == 0
        broker.start()
        poll_until(links, lambda: bool(links.up.all()))
        assert links.went_up().tolist() == list(range(20))
        assert links.statistics().went_up == 40


def test_refusals_are_counted_by_code_and_tried_again(tmp_path: Path) -> None:
    with Broker(tmp_path, users={"auth-0": "secret"}) as broker, links_to(broker.port, 2, "auth") as links:
        links.connect_all(10_000)
        poll_until(links, lambda: bool(links.up[0]) and links.statistics().refused_by_code.get(5, 0) >= 3)
        assert links.up.tolist() == [True, False]
        assert links.statistics().dropped_by_reason == {"refused": links.statistics().refused_by_code[5]}


def test_links_speak_tls_and_check_the_certificate(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    command += " -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run(
        [*command.split(), "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
    )
    trusting = ssl.create_default_context(cafile=str(certificate))
    with Broker(tmp_path, tls=(certificate, key)) as broker:
        with links_to(broker.port, 5, "tls", tls=trusting, host="localhost") as links:
            links.connect_all(10_000)
            poll_until(links, lambda: bool(links.up.all()))
            payloads = [bytes([row]) * 40_000 for row in range(5)]
            # A site hears itself when it publishes to its own command topic: no second TLS client is needed.
            for row, payload in enumerate(payloads):
                links._tele_topic[row] = mqtt.text(f"to/tls-{row}/desired")
                assert links.publish(row, payload)
            messages = poll_until(links, lambda: links.statistics().received == 5)
            assert sorted(messages) == [
                Message(row, "desired", payload) for row, payload in enumerate(payloads)
            ]
        with links_to(broker.port, 1, "doubt", tls=ssl.create_default_context(), host="localhost") as links:
            links.connect_all(10_000)
            poll_until(links, lambda: links.statistics().dropped_by_reason.get("tls", 0) >= 2)


def test_sites_held_down_stay_down_until_released(broker: Broker) -> None:
    with links_to(broker.port, 3, "held") as links:
        links.connect_all(10_000)
        poll_until(links, lambda: bool(links.up.all()))
        links.hold_down([1])
        links.connect_all(10_000)
        links.went_up()
        deadline_s = time.monotonic() + 0.3
        poll_until(links, lambda: time.monotonic() > deadline_s)
        assert links.phase.tolist() == [Phase.UP, Phase.DOWN, Phase.UP]
        links.release([1])
        poll_until(links, lambda: bool(links.up.all()))
        assert links.went_up().tolist() == [1]
        assert links.statistics().dropped_by_reason == {"held_down": 1}


def test_links_work_under_an_asyncio_loop(broker: Broker, plant: Plant) -> None:
    async def main() -> list[Message]:
        loop = asyncio.get_running_loop()
        messages: list[Message] = []
        done = asyncio.Event()

        def ready() -> None:
            messages.extend(links.poll(0))
            if links.up.all() and not done.is_set():
                done.set()
            if messages:
                came.set()

        came = asyncio.Event()
        with links_to(broker.port, 4, "loop") as links:
            loop.add_reader(links.fileno(), ready)
            links.connect_all(10_000)
            links.poll(0)
            async with asyncio.timeout(5):
                while not done.is_set():
                    links.poll(0)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(done.wait(), 0.01)
                plant.send("to/loop-2/durable", b"now")
                await came.wait()
            loop.remove_reader(links.fileno())
        return messages

    assert asyncio.run(main()) == [Message(2, "durable", b"now")]


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Peer:
    """A broker's side made by hand, which says only what the test wants."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(5)
        self.port = int(self.server.getsockname()[1])

    def accept(self, links: Links) -> socket.socket:
        links.poll(0)
        connection, _ = self.server.accept()
        connection.settimeout(5)
        poll_until(links, lambda: links.phase[0] >= Phase.SIGN_IN)
        return connection

    def sign_in(self, links: Links) -> socket.socket:
        connection = self.accept(links)
        connection.sendall(b"\x20\x02\x00\x00")
        poll_until(links, lambda: links.phase[0] == Phase.SUBSCRIBE)
        connection.sendall(b"\x90\x03\x00\x01\x00")
        poll_until(links, lambda: bool(links.up[0]))
        return connection


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.server.close()


def test_session_that_answers_no_ping_is_dropped(peer: Peer) -> None:
    clock = Time()
    with links_to(peer.port, 1, "silent", monotonic_s=clock) as links:
        links.connect_all(100)
        with peer.sign_in(links) as connection:
            connection.recv(4_096)
            clock.now_s += 17
            links.poll(0)
            assert links.statistics().pings == 0, "it is not yet time"
            clock.now_s += 20
            links.poll(0)
            assert connection.recv(100)[-2:] == mqtt.PINGREQ
            connection.sendall(b"\xd0\x00")
            poll_until(links, lambda: not links._ping_open[0])
            clock.now_s += 37
            links.poll(0)
            assert connection.recv(100) == mqtt.PINGREQ
            clock.now_s += 37
            links.poll(0)
            assert links.statistics().dropped_by_reason == {"silent": 1}
            assert connection.recv(100) == b""


def test_handshake_that_takes_too_long_is_given_up(peer: Peer) -> None:
    clock = Time()
    with links_to(peer.port, 1, "slow", monotonic_s=clock) as links:
        links.connect_all(100)
        with peer.accept(links):
            clock.now_s += 5.1
            links.poll(0)
            assert links.statistics().dropped_by_reason == {"timeout": 1}


def test_session_without_the_right_to_regulation_and_the_pace_is_up_all_the_same(peer: Peer) -> None:
    with links_to(peer.port, 1, "old") as links:
        links.connect_all(100)
        with peer.accept(links) as connection:
            connection.sendall(b"\x20\x02\x00\x00\x90\x05\x00\x01\x00\x80\x80")
            poll_until(links, lambda: bool(links.up[0]))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "wire_format"),
        (b"\x30\xff\xff\x7f", "wire_format"),
        (b"\x20\x02\x00\x03", "refused"),
        (b"\x20\x02\x00\x00\x90\x03\x00\x01\x80", "subscription"),
        (b"\x20\x02\x00\x00\x90\x05\x00\x01\x80\x00\x00", "subscription"),
        (b"", "closed"),
    ],
)
def test_peer_that_misbehaves_is_dropped_with_a_reason(peer: Peer, said: bytes, reason: str) -> None:
    clock = Time()
    with links_to(peer.port, 1, "odd", monotonic_s=clock) as links:
        links.connect_all(100)
        with peer.accept(links) as connection:
            connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)
            poll_until(links, lambda: links.phase[0] == Phase.DOWN)
        assert links.statistics().dropped_by_reason == {reason: 1}


def test_unsent_bytes_are_bounded_and_arrive_in_order(peer: Peer) -> None:
    with links_to(peer.port, 1, "full") as links:
        links.connect_all(100)
        with peer.sign_in(links) as connection:
            payload = bytes(10_000)
            while links.statistics().unsent_bytes == 0:
                assert links.publish(0, payload)
            for last in (b"first", b"second"):
                assert links.publish(0, last)
            sent = links.statistics().published
            parser, got = mqtt.PacketParser(), list[mqtt.Packet]()
            expected_head = len(links._hello[0]) + len(links._subscription[0])
            skipped = b""
            while len(got) < sent:
                links.poll(0)
                data = connection.recv(65_536)
                if len(skipped) < expected_head:
                    take = expected_head - len(skipped)
                    skipped, data = skipped + data[:take], data[take:]
                got += parser.feed(data)
            payloads = [packet.payload for packet in got if isinstance(packet, mqtt.Publish)]
            assert payloads == [payload] * (sent - 2) + [b"first", b"second"]
            assert links.statistics().unsent_bytes == 0
            while links.publish(0, payload):
                assert links.statistics().unsent_bytes <= QUICK.max_unsent_bytes
            assert links.statistics().dropped_by_reason == {"unsent_full": 1}
            assert links.statistics().unsent_bytes == 0


def test_attempts_back_off_with_jitter_and_obey_the_rate() -> None:
    clock = Time()
    settings = LinkSettings(backoff_base_s=1.0, backoff_cap_s=16.0)
    with links_to(free_port(), 40, "rate", monotonic_s=clock, settings=settings) as links:
        links.connect_all(10)
        attempts: list[int] = []
        tried_after: list[int] = []
        for _ in range(600):
            clock.now_s += 0.1
            links.poll(0.0005)
            attempts.append(links.statistics().attempts)
            tried_after += [len(attempts)] * (len(tried_after) == 0 and bool(links._failures.all()))
        in_a_second = [later - earlier for earlier, later in zip(attempts, attempts[10:], strict=False)]
        assert max(in_a_second) <= 11
        assert tried_after[0] < 200, "rows that fail again and again do not keep the others from their turn"
        waits_s = links._deadline_s[links.phase == Phase.DOWN] - clock.now_s
        assert waits_s.max() <= 16.0
        assert len(np.unique(waits_s.round(3))) > 20, "jitter spreads them"
        late = attempts[-1] - attempts[-101]
        assert late < 80, "ten seconds late in the day hold far fewer attempts than the rate allows"


def test_devices_that_lose_the_broker_together_try_again_spread_over_a_time() -> None:
    clock = Time()
    settings = LinkSettings(backoff_base_s=0.1, backoff_cap_s=1.0, spread_s=20.0)
    with links_to(free_port(), 400, "crowd", monotonic_s=clock, settings=settings) as links:
        links.connect_all(1e6)
        attempts: list[int] = []
        while clock.now_s < 180.0:
            clock.now_s += 0.1
            links.poll(0.0005)
            attempts.append(links.statistics().attempts)
        assert attempts[0] == 400, "nobody had lost anything before"
        in_a_second = [later - earlier for earlier, later in zip(attempts, attempts[10:], strict=False)]
        # a wait lasts ten seconds on average: forty a second, and never many more
        assert 25 < np.mean(in_a_second[50:]) < 55
        assert max(in_a_second) < 80
        links.spread_s = 0.0
        for _ in range(400):
            clock.now_s += 0.1
            links.poll(0.0005)
        assert links.statistics().attempts - attempts[-1] > 4_000, (
            "without it they are as quick as their back-off"
        )


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(InvalidInputError):
        Links("127.0.0.1", 1, sites(2, "x"), ["one"], tls=None, keep_alive_s=60, rng_seed=1)
    for keep_alive_s in (0, 65_536):
        with pytest.raises(InvalidInputError):
            links_to(1, 1, "x", keep_alive_s=keep_alive_s)
    with links_to(1, 1, "x") as links, pytest.raises(InvalidInputError):
        links.connect_all(0)
    with links_to(1, 1, "x", host="no-such-host.invalid") as links, pytest.raises(UnavailableError):
        links.connect_all(1)
