"""Devices and roles: each may do its own work and nothing else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import nats
import nats.errors
import nkeys
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from shoal.domain.errors import UnavailableError
from shoal.domain.ids import site_id
from shoal.fabric.admission import Admission
from shoal.fabric.connection import EventCounter, connect
from shoal.fabric.keys import Role
from shoal.fabric.subjects import (
    PARTITIONS,
    READING_ALL,
    READING_BEHIND_ALL,
    REPORT_ALL,
    REPORT_BEHIND_ALL,
    journal_subject,
    partition_of,
    site_of_journal_subject,
)
from tests.integration.fabric.plant import TIMEOUT_S, Device, Plant, read_some, wait_until


def right_secret(site: str, secret: str) -> bool:
    return secret == f"secret-of-{site}"


def run(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(body())


async def device(plant: Plant, site: str, errors: list[str] | None = None) -> Client:
    """Connect as a site over NATS."""

    async def failed(error: Exception) -> None:
        if errors is not None:
            errors.append(str(error))

    return await nats.connect(
        plant.server.url, user=site, password=f"secret-of-{site}", error_cb=failed, allow_reconnect=False
    )


def test_partition_equals_the_servers(plant: Plant) -> None:
    sites = [site_id(f"{prefix}{number}") for prefix in ("s", "home-", "X_") for number in range(60)]

    async def body() -> None:
        async with plant.callout(right_secret), plant.reader() as reader:
            start = await reader.last_seq() + 1
            async with plant.reader(start) as fresh:
                for site in sites:
                    client = await device(plant, site)
                    await client.publish(f"dev.{site}.tele", b"x")
                    await client.drain()
                seen = [subject for _, subject, _ in await read_some(fresh, len(sites))]
        assert sorted(seen) == sorted(journal_subject(site).encode() for site in sites)
        assert {site_of_journal_subject(subject) for subject in seen} == set(sites)
        assert len({partition_of(site) for site in sites}) > PARTITIONS // 2

    run(body)


def test_mqtt_device_reaches_the_journal_and_is_reached(plant: Plant) -> None:
    async def body() -> None:
        async with (
            plant.callout(right_secret),
            plant.client(Role.CONTROL) as control,
            plant.client(Role.TELEMETRY) as telemetry,
            plant.reader() as probe,
        ):
            start = await probe.last_seq() + 1

            def act() -> None:
                with Device.signing_in(plant, "m1", "secret-of-m1") as (mine, accepted):
                    assert accepted
                    for qos in (0, 1):
                        assert mine.subscribe("to/m1/+", qos=qos)
                        mine.publish("dev/m1/tele", b"payload", qos=qos)
                    subscribed.set()
                    got = {mine.received.get(timeout=TIMEOUT_S) for _ in range(2)}
                    assert got == {("to/m1/desired", b"d"), ("to/m1/durable", b"u")}

            subscribed = threading.Event()
            acting = asyncio.create_task(asyncio.to_thread(act))
            await wait_until(lambda: subscribed.is_set() or acting.done())
            await control.publish("to.m1.desired", b"d")
            await telemetry.publish("to.m1.durable", b"u")
            await acting
            async with plant.reader(start) as reader:
                messages = await read_some(reader, 2)
        assert [message[1:] for message in messages] == [
            (journal_subject(site_id("m1")).encode(), b"payload")
        ] * 2

    run(body)


def test_mqtt_device_cannot_publish_as_or_read_another(plant: Plant) -> None:
    other = site_id("v1")

    async def body() -> None:
        heard: list[str] = []

        async def hear(message: Msg) -> None:
            heard.append(message.subject)

        async with (
            plant.callout(right_secret),
            plant.client(Role.OBSERVER) as observer,
            plant.client(Role.CONTROL) as control,
            plant.reader() as probe,
        ):
            await observer.subscribe("live.>", cb=hear)
            await observer.flush()
            start = await probe.last_seq() + 1

            def act() -> None:
                with (
                    Device.signing_in(plant, "a1", "secret-of-a1") as (attacker, accepted),
                    Device.signing_in(plant, "v1", "secret-of-v1") as (victim, _),
                ):
                    assert accepted
                    assert victim.subscribe("to/v1/+", qos=1)
                    for topic in ("to/v1/+", "to/+/desired", "to/#", "#", "dev/#", "tele/#", "live/#"):
                        assert not attacker.subscribe(topic), topic
                    for topic in ("$MQTT/#", "$MQTT/sub/#", "$MQTT/msgs/#", "$JS/#", "_INBOX/#", "$SYS/#"):
                        assert not attacker.subscribe(topic), topic
                    partition = partition_of(other)
                    for topic in ("dev/v1/tele", f"tele/{partition}/v1", "to/v1/desired", "live/aggregates"):
                        for qos in (0, 1):
                            attacker.publish(topic, b"forged", qos=qos)
                    wrong = (partition_of(site_id("a1")) + 1) % PARTITIONS
                    attacker.publish(f"tele/{wrong}/a1", b"wrong partition")
                    attacker.publish("$JS/API/STREAM/PURGE/TELE", b"")
                    attacker.publish("$MQTT/msgs/to/v1/desired", b"forged")
                    attacker.publish("$MQTT/rmsgs/to/v1/desired", b"forged")
                    attacker.publish("$MQTT/sub/x", b"forged", qos=0)
                    attacker.publish("dev/a1/tele", b"honest")
                    forging_done.set()
                    assert victim.received.get(timeout=TIMEOUT_S) == ("to/v1/desired", b"genuine")
                    assert attacker.received.empty()

            forging_done = threading.Event()
            acting = asyncio.create_task(asyncio.to_thread(act))
            await wait_until(lambda: forging_done.is_set() or acting.done())
            await control.publish("to.v1.desired", b"genuine")
            await control.flush()
            await acting
            async with plant.reader(start) as reader:
                assert [message[2] for message in await read_some(reader, 1)] == [b"honest"]
            assert await probe.last_seq() == start
        assert heard == []

    run(body)


def test_nats_device_has_no_more_rights_than_an_mqtt_one(plant: Plant) -> None:
    async def body() -> None:
        errors: list[str] = []
        async with plant.callout(right_secret), plant.reader() as probe:
            start = await probe.last_seq() + 1
            client = await device(plant, "n1", errors)
            for subject in (
                "dev.n2.tele",
                "tele.0.n2",
                "$JS.API.STREAM.DELETE.TELE",
                "$MQTT.msgs.x",
                "to.n2.desired",
            ):
                await client.publish(subject, b"x")
            for subject in ("to.n2.*", "to.>", "_INBOX.>", "$MQTT.>", ">"):
                await client.subscribe(subject)
            await client.publish("dev.n1.tele", b"mine")
            await client.flush()
            await wait_until(lambda: len(errors) == 10)
            await client.close()
            async with plant.reader(start) as reader:
                assert [message[2] for message in await read_some(reader, 1)] == [b"mine"]
            assert await probe.last_seq() == start

    run(body)


def test_sign_in_is_refused_with_a_reason_that_is_counted(plant: Plant) -> None:
    def verify(site: str, secret: str) -> bool:
        if site == "dark":
            raise UnavailableError("registry", "down")
        if site == "bug":
            raise KeyError(site)
        return right_secret(site, secret)

    async def body() -> None:
        async with plant.callout(verify) as callout:

            def attempt(user: str, secret: str, client_id: str | None = None) -> bool:
                with Device.signing_in(plant, user, secret, client_id=client_id) as (_, accepted):
                    return accepted

            assert await asyncio.to_thread(attempt, "r1", "secret-of-r1")
            assert await asyncio.to_thread(attempt, "r1", "secret-of-r1", "r1:gateway")
            assert not await asyncio.to_thread(attempt, "r1", "wrong")
            assert not await asyncio.to_thread(attempt, "r1", "")
            assert not await asyncio.to_thread(attempt, "r*", "secret-of-r*")
            assert not await asyncio.to_thread(attempt, "-r1", "secret-of--r1")
            assert not await asyncio.to_thread(attempt, "r1", "secret-of-r1", "r2")
            assert not await asyncio.to_thread(attempt, "dark", "x")
            assert not await asyncio.to_thread(attempt, "bug", "x")
            assert not await asyncio.to_thread(attempt, "", "")
            statistics = callout.statistics()
        assert (statistics.signed_in, statistics.from_cache) == (2, 1)
        assert statistics.refused == {"secret": 2, "site_id": 1, "client_id": 1, "unavailable": 1, "fault": 1}

    run(body)


def test_sign_in_expires_when_told_to(plant: Plant) -> None:
    async def body() -> None:
        async with plant.callout(right_secret, lifetime_s=1.0):

            def stay() -> bool:
                with Device.signing_in(plant, "e1", "secret-of-e1") as (mine, accepted):
                    mine.result("disconnect")
                    return accepted

            assert await asyncio.to_thread(stay)

    run(body)


@pytest.mark.parametrize(
    ("role", "allowed", "denied"),
    [
        (
            Role.CONTROL,
            ["to.s.desired", "to.s.orders", "to.g.1.orders", "live.resources"],
            ["tele.1.s", "dev.s.tele", "to.s.durable", "live.runs"],
        ),
        (
            Role.TELEMETRY,
            ["live.aggregates", "to.s.durable", "own.live.telemetry.1", "member.live.m", "snap.live.u.1.x.0"],
            [
                *(
                    "tele.1.s",
                    "to.s.desired",
                    "$JS.API.CONSUMER.CREATE.TELE-0.x",
                    "$JS.API.STREAM.DELETE.TELE-0",
                ),
                *("own.history.u", "member.history.m", "snap.history.u.1.x.0"),
                *("$JS.API.STREAM.PURGE.TELE", "$JS.API.STREAM.DELETE.OWNERS"),
            ],
        ),
        (
            Role.HISTORY,
            ["own.history.u", "member.history.m", "changed.history", "snap.history.u.1.x.0"],
            ["own.live.telemetry.1", "member.live.m", "live.aggregates", "to.s.durable", "tele.1.s"],
        ),
        (
            Role.REGULATION,
            ["to.s.regulation", "to.g.1.regulation", "all.regulation.r", "ask.twin.0"],
            ["to.s.desired", "to.s.orders", "signal.r", "dev.s.reading", "all.pace", "live.runs"],
        ),
        (
            Role.PRICES,
            ["homes.north.prices", "live.prices", "ask.twin.0"],
            ["to.s.prices", "to.s.orders", "dev.s.answer", "live.runs"],
        ),
        (
            Role.ADDER,
            ["to.s.prices", "to.g.1.prices"],
            ["to.s.orders", "to.s.desired", "homes.north.prices", "dev.s.answer", "live.prices"],
        ),
        (Role.SIGNAL, ["signal.r"], ["all.regulation.r", "to.s.regulation", "live.aggregates", "ask.twin.0"]),
        (Role.BIDDING, ["live.runs", "live.money"], ["to.s.desired", "live.aggregates", "tele.1.s"]),
        (
            Role.API,
            ["ask.twin.0"],
            ["live.aggregates", "to.s.desired", "tele.1.s", "$JS.API.STREAM.PURGE.TELE", "own.live.u"],
        ),
        (Role.OBSERVER, [], ["live.aggregates", "ask.twin.0", "tele.1.s", "x"]),
        (Role.FABRIC, [], ["tele.1.s", "to.s.desired", "live.runs"]),
    ],
)
def test_role_may_publish_only_its_own(
    plant: Plant, role: Role, allowed: list[str], denied: list[str]
) -> None:
    async def body() -> None:
        counter = EventCounter()
        async with plant.client(role, counter) as client:
            for subject in allowed:
                await client.publish(subject, b"")
            await client.flush()
            assert counter.statistics().get("error", 0) == 0
            for subject in denied:
                await client.publish(subject, b"")
            await client.flush()
            await wait_until(lambda: counter.statistics().get("error", 0) == len(denied))

    run(body)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.CALLOUT])
def test_role_may_not_read_telemetry_or_commands_off_the_wire(plant: Plant, role: Role) -> None:
    async def body() -> None:
        counter = EventCounter()
        subjects = ["tele.>", "dev.>", "to.>", "_INBOX.>", "$SYS.>", ">"]
        async with plant.client(role, counter) as client:
            for subject in subjects:
                await client.subscribe(subject)
            await client.flush()
            await wait_until(lambda: counter.statistics().get("error", 0) == len(subjects))

    run(body)


@pytest.mark.parametrize("role", [role for role in Role if role not in (Role.CALLOUT, Role.ADDER)])
def test_only_the_adder_hears_what_single_homes_would_do(plant: Plant, role: Role) -> None:
    async def body() -> None:
        counter = EventCounter()
        async with plant.client(role, counter) as client, plant.client(Role.ADDER) as adder:
            for subject in ("dev.*.answer", "dev.s.answer", "dev.*.*.answer"):
                await client.subscribe(subject)
            await client.flush()
            await wait_until(lambda: counter.statistics().get("error", 0) == 3)
            await adder.subscribe("dev.*.answer")
            await adder.flush()

    run(body)


def test_home_answers_for_itself_alone(plant: Plant) -> None:
    async def body() -> None:
        async with plant.callout(right_secret), plant.client(Role.ADDER) as adder:
            heard: list[str] = []

            async def take(message: Msg) -> None:
                heard.append(message.subject)

            await adder.subscribe("dev.*.answer", cb=take)
            await adder.subscribe("dev.*.*.answer", cb=take)
            await adder.flush()

            def speak() -> None:
                with Device.signing_in(plant, "a1", "secret-of-a1") as (device, accepted):
                    assert accepted
                    for topic in ("dev/b1/answer", "dev/b1/7/answer", "dev/a1/7/answer", "dev/a1/answer"):
                        device.publish(topic, b"x", qos=0)

            await asyncio.to_thread(speak)
            await wait_until(lambda: "dev.a1.answer" in heard)
            assert sorted(heard) == ["dev.a1.7.answer", "dev.a1.answer"]

    run(body)


def test_twins_can_be_asked_and_live_can_be_observed(plant: Plant) -> None:
    async def body() -> None:
        async with (
            plant.client(Role.TELEMETRY) as telemetry,
            plant.client(Role.API) as api,
            plant.client(Role.OBSERVER) as observer,
        ):

            async def answer(message: Msg) -> None:
                await message.respond(b"twin")

            await telemetry.subscribe("ask.twin.3", cb=answer)
            live = await observer.subscribe("live.aggregates")
            await asyncio.gather(telemetry.flush(), observer.flush())
            assert (await api.request("ask.twin.3", b"", timeout=TIMEOUT_S)).data == b"twin"
            await telemetry.publish("live.aggregates", b"sums")
            assert (await live.next_msg(timeout=TIMEOUT_S)).data == b"sums"

    run(body)


def test_connect_says_who_is_refused_and_who_is_not_there(plant: Plant) -> None:
    async def body() -> None:
        stranger = nkeys.encode_seed(b"7" * 32, nkeys.PREFIX_BYTE_USER).decode()
        async with plant.callout(right_secret) as callout:
            with pytest.raises(UnavailableError, match="refuses the identity"):
                await connect(plant.server.url, seed=stranger, name="stranger")
            assert callout.statistics().refused == {"site_id": 1}
        with pytest.raises(UnavailableError):
            await connect("nats://127.0.0.1:9", seed=stranger, name="nobody", timeout_s=0.3)

    run(body)


def test_sign_ins_beyond_the_rate_are_refused_at_once(plant: Plant) -> None:
    async def body() -> None:
        admission = Admission(rate_per_s=5.0)
        async with plant.callout(right_secret, admission=admission) as callout:

            def attempt(number: int) -> bool:
                with Device.signing_in(plant, f"q{number}", f"secret-of-q{number}") as (_, accepted):
                    return accepted

            began_s = time.monotonic()
            accepted = await asyncio.gather(*(asyncio.to_thread(attempt, number) for number in range(12)))
            took_s = time.monotonic() - began_s
            assert took_s < 4.0, "nobody waits for the server's patience to end"
            assert 5 <= sum(accepted) <= 5 + 5 * took_s + 1
            assert callout.statistics().refused["busy"] == 12 - sum(accepted)

    run(body)


def test_many_unknown_secrets_are_verified_together_and_one_fault_is_its_own(plant: Plant) -> None:
    asked: list[int] = []

    def verify_many(pairs: Sequence[tuple[str, str]]) -> list[bool]:
        asked.append(len(pairs))
        time.sleep(0.1)
        if any(site == "b7" for site, _ in pairs):
            raise KeyError("b7")
        return [right_secret(*pair) for pair in pairs]

    async def body() -> None:
        async with plant.callout(right_secret, verify_many=verify_many) as callout:

            def attempt(number: int) -> bool:
                with Device.signing_in(plant, f"b{number}", f"secret-of-b{number}") as (_, accepted):
                    return accepted

            accepted = await asyncio.gather(*(asyncio.to_thread(attempt, number) for number in range(12)))
            assert accepted == [number != 7 for number in range(12)]
            assert callout.statistics().refused == {"fault": 1}
            assert callout.statistics().in_progress == 0
            known = len(asked)
            assert await asyncio.to_thread(attempt, 3)
            assert len(asked) == known, "a secret that was right a moment ago is believed"

    run(body)


def test_device_may_say_hello_and_hear_the_pace_and_what_is_sent_behind_it(plant: Plant) -> None:
    async def body() -> None:
        heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

        async def hear(message: Msg) -> None:
            heard.put_nowait((message.subject, message.data))

        async with (
            plant.callout(right_secret),
            plant.client(Role.TELEMETRY) as telemetry,
            plant.client(Role.CONTROL) as control,
        ):
            await telemetry.subscribe("dev.*.hello", cb=hear)
            await telemetry.flush()

            def act() -> None:
                with Device.signing_in(plant, "g1", "secret-of-g1") as (mine, accepted):
                    assert accepted
                    for topic in ("to/g1/+", "to/g1/+/+", "all/pace"):
                        assert mine.subscribe(topic, qos=0), topic
                    for topic in ("all/+", "all/#", "to/g2/+/+"):
                        assert not mine.subscribe(topic, qos=0), topic
                    mine.publish("dev/g1/hello", b"{}", qos=0)
                    got = {mine.received.get(timeout=TIMEOUT_S) for _ in range(3)}
                    assert got == {
                        ("all/pace", b"p"),
                        ("to/g1/7/desired", b"d"),
                        ("to/g1/7/durable", b"u"),
                    }

            acting = asyncio.create_task(asyncio.to_thread(act))
            async with asyncio.timeout(TIMEOUT_S):
                assert await heard.get() == ("dev.g1.hello", b"{}")
            await telemetry.publish("all.pace", b"p")
            await telemetry.publish("to.g1.7.durable", b"u")
            await control.publish("to.g1.7.desired", b"d")
            await acting

    run(body)


def test_device_reports_for_itself_and_for_what_is_behind_it(plant: Plant) -> None:
    async def body() -> None:
        heard: asyncio.Queue[str] = asyncio.Queue()

        async def hear(message: Msg) -> None:
            heard.put_nowait(message.subject)

        async with plant.callout(right_secret), plant.client(Role.CONTROL) as control:
            for subject in (REPORT_ALL, REPORT_BEHIND_ALL):
                await control.subscribe(subject, cb=hear)
            await control.flush()

            def act() -> None:
                with Device.signing_in(plant, "g1", "secret-of-g1") as (mine, accepted):
                    assert accepted
                    assert mine.subscribe("to/g1/+", qos=0)
                    for topic in ("dev/g2/report", "dev/g2/1/report", "dev/g1/report", "dev/g1/7/report"):
                        mine.publish(topic, b"{}", qos=0)
                    assert mine.received.get(timeout=TIMEOUT_S) == ("to/g1/orders", b"o")

            acting = asyncio.create_task(asyncio.to_thread(act))
            async with asyncio.timeout(TIMEOUT_S):
                assert [await heard.get(), await heard.get()] == ["dev.g1.report", "dev.g1.7.report"]
            await control.publish("to.g1.orders", b"o")
            await acting
            assert heard.empty()

    run(body)


def test_device_hears_regulation_and_speaks_of_its_own_meters_only(plant: Plant) -> None:
    async def body() -> None:
        heard: asyncio.Queue[str] = asyncio.Queue()

        async def hear(message: Msg) -> None:
            heard.put_nowait(message.subject)

        async with plant.callout(right_secret), plant.client(Role.REGULATION) as regulation:
            for subject in (READING_ALL, READING_BEHIND_ALL):
                await regulation.subscribe(subject, cb=hear)
            await regulation.flush()

            def act() -> None:
                with Device.signing_in(plant, "g1", "secret-of-g1") as (mine, accepted):
                    assert accepted
                    assert mine.subscribe("to/g1/+", qos=0)
                    assert mine.subscribe("all/regulation/+", qos=0)
                    assert not mine.subscribe("signal/+", qos=0)
                    forged = ("dev/g2/reading", "dev/g2/1/reading", "all/regulation/vpp", "signal/vpp")
                    for topic in (*forged, "to/g1/regulation", "dev/g1/reading", "dev/g1/7/reading"):
                        mine.publish(topic, b"{}", qos=0)
                    assert mine.received.get(timeout=TIMEOUT_S) == ("to/g1/regulation", b"arming")
                    assert mine.received.get(timeout=TIMEOUT_S) == ("all/regulation/vpp", b"broadcast")

            acting = asyncio.create_task(asyncio.to_thread(act))
            async with asyncio.timeout(TIMEOUT_S):
                assert [await heard.get(), await heard.get()] == ["dev.g1.reading", "dev.g1.7.reading"]
            await regulation.publish("to.g1.regulation", b"arming")
            await regulation.publish("all.regulation.vpp", b"broadcast")
            await acting
            assert heard.empty()

    run(body)


def test_answers_that_would_come_too_late_are_let_go(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    def verify(site: str, secret: str) -> bool:
        if site == "w9":
            time.sleep(0.5)
        return right_secret(site, secret)

    async def body() -> None:
        async with plant.callout(verify) as callout:

            def attempt(number: int) -> bool:
                with Device.signing_in(plant, f"w{number}", f"secret-of-w{number}") as (_, accepted):
                    return accepted

            for number in range(5):
                assert await asyncio.to_thread(attempt, number)
            monkeypatch.setattr("shoal.fabric.identity._PATIENCE_S", 0.2)
            # the server gives it up after 5 s; nobody has signed what would have come too late
            assert not await asyncio.to_thread(attempt, 9)
            assert callout.statistics().expired == 1
            assert callout.statistics().signed_in == 5

    run(body)
