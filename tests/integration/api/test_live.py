"""The live socket from the fabric to the client: no gap, few messages, nobody held up by a slow one."""

from __future__ import annotations

import asyncio
import socket as sockets
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from shoal.api.door.access import SESSION_COOKIE
from shoal.api.live import routes as routes_plant
from shoal.api.live.feeds import Feed, FeedSaid
from shoal.api.live.hub import DELTA_EVERY_S
from shoal.domain.errors import UnavailableError, UnknownIdError
from shoal.domain.interval import NS_PER_MINUTE
from shoal.domain.live import QuarantineState
from shoal.fabric.subjects import LIVE_AGGREGATES, LIVE_MONEY, LIVE_QUARANTINE, LIVE_RESOURCES, LIVE_RUNS
from tests.integration.api.running import TIMEOUT_S, Follower, Running, receive, running, wait_until
from tests.unit.api.doors import write_statement
from tests.unit.api.plants import BESS, T0_NS, aggregates, resource_state, run_record


async def publish_minutes(run: Running, first: int, count: int) -> int:
    """Publish one set of aggregates a minute of plant time; return the last instant in ms."""
    for minute in range(first, first + count):
        t_ns = T0_NS + minute * NS_PER_MINUTE
        await run.telemetry.publish(
            LIVE_AGGREGATES, msgspec.json.encode(aggregates(t_ns, bess_kw=float(minute)))
        )
        await run.telemetry.flush()
    return (T0_NS + (first + count - 1) * NS_PER_MINUTE) // 1_000_000


def test_client_sees_a_snapshot_and_then_deltas_without_a_gap(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as run:
            await publish_minutes(run, 0, 5)
            async with run.socket() as socket:
                follower = Follower(socket)
                assert (await follower.step())["kind"] == "snapshot"
                last_ms = 0
                started = time.monotonic()
                for batch in range(1, 5):
                    last_ms = await publish_minutes(run, 20 * batch, 20)
                    await follower.until_now(last_ms)
                took_s = time.monotonic() - started
                times = follower.state["fleet_series"]["t_ms"]
                assert len(times) == 85
                assert times == sorted(set(times))
                assert follower.state["fleet"]["battery_kw"] == 97.0
                assert follower.messages - 1 <= took_s / DELTA_EVERY_S + 1, "more than five deltas a second"
                shown = (await run.get("/api/state")).json()
                for part in ("now_ms", "fleet", "fleet_series", "groups", "next_gate"):
                    assert follower.state[part] == shown[part]

    asyncio.run(scenario())


def test_every_client_gets_the_same_deltas_whenever_it_came(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as run, run.socket() as one:
            first = Follower(one)
            await first.step()
            await publish_minutes(run, 0, 3)
            async with run.socket() as other:
                second = Follower(other)
                await second.step()
                last_ms = await publish_minutes(run, 3, 3)
                for follower in (first, second):
                    await follower.until_now(last_ms)
                while first.seq != second.seq:
                    await min(first, second, key=lambda one: one.seq).step()
                assert first.state == second.state
                assert run.plant.hub.statistics().clients == 2
            await wait_until(lambda: run.plant.hub.statistics().clients == 1)

    asyncio.run(scenario())


def test_client_watches_the_groups_that_it_opened(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as run, run.socket() as one, run.socket() as other:
            watching, plain = Follower(one), Follower(other)
            await publish_minutes(run, 0, 1)
            await watching.step()
            await watching.watch("bess", "nobody")
            while "bess" not in watching.watched:
                await watching.step()
            assert watching.watched.keys() == {"bess"}
            await publish_minutes(run, 10, 1)
            async with asyncio.timeout(TIMEOUT_S):
                while watching.watched["bess"]["battery_kw"] != 10.0:
                    await watching.step()
            assert [group["group_id"] for group in watching.state["groups"]] == ["homes", "storage", "texas"]
            last_ms = await publish_minutes(run, 20, 1)
            await plain.until_now(last_ms)
            assert plain.watched == {}
            await one.send("nonsense")
            await watching.until_now(last_ms)

    asyncio.run(scenario())


def test_only_the_newest_of_many_large_messages_is_read(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as run, run.socket() as socket:
            follower = Follower(socket)
            run.plant.hub._newest.spent(0.35)  # a tenth of a second's reading is owed, with nothing in hand
            last_ms = await publish_minutes(run, 0, 30)
            await follower.until_now(last_ms)
            seen = run.plant.hub.statistics()
            assert seen.messages_total == 30
            assert seen.conflated_total >= 25
            assert seen.malformed_total == 0

    asyncio.run(scenario())


def test_each_kind_of_news_reaches_the_page(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as run, run.socket() as socket:
            follower = Follower(socket)
            await follower.step()
            publish = run.telemetry.publish
            await publish(LIVE_AGGREGATES, msgspec.json.encode(aggregates()))
            await publish(LIVE_RESOURCES, msgspec.json.encode([resource_state()]))
            await publish(LIVE_RUNS, msgspec.json.encode(run_record()))
            await publish(LIVE_MONEY, b"{}")
            await follower.until(
                lambda state: bool(
                    state["fleet"] and state["resources"] and state["runs"] and state["health"]
                )
            )
            assert follower.state["money"]["revenue"] is None
            write_statement(run.plant.ledger)
            await publish(LIVE_MONEY, b"{}")
            await follower.until(lambda state: state["money"]["revenue"] is not None)
            assert follower.state["money"]["revenue"] == pytest.approx(446.5)
            assert follower.state["resources"][0]["resource_id"] == BESS
            assert follower.state["resources"][0]["award_total_mwh"] == 15.0

    asyncio.run(scenario())


def test_news_that_makes_no_sense_is_counted_and_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as run:
            publish = run.telemetry.publish
            await publish(LIVE_AGGREGATES, b"{not json")
            await publish(LIVE_RESOURCES, b'[{"t_ns": "soon"}]')
            await publish(LIVE_AGGREGATES, msgspec.json.encode(aggregates(sites=[1])))
            await publish("live.something-new", b"\xff")
            await publish(LIVE_AGGREGATES, msgspec.json.encode(aggregates()))
            await wait_until(lambda: run.plant.hub.statistics().messages_total == 5)
            assert run.plant.hub.statistics().malformed_total == 3
            assert (await run.get("/api/state")).json()["fleet"]["sites"] == 3

    asyncio.run(scenario())


def test_a_slow_client_holds_up_nobody_misses_nothing_and_is_told(tmp_path: Path) -> None:
    def big(total: int) -> bytes:
        state = QuarantineState(t_ns=T0_NS, total=total, by_reason={"x" * 1_000_000: total}, recent=[])
        return msgspec.json.encode(state)

    async def connected(run: Running) -> sockets.socket:
        made = sockets.socket()
        made.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 16_384)
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", run.port))
        return made

    async def scenario() -> None:
        async with running(tmp_path) as run, run.socket() as quick_socket:
            quick = Follower(quick_socket)
            await quick.step()
            slow_options: dict[str, Any] = {"sock": await connected(run), "max_queue": 1}
            async with run.socket(**slow_options) as slow_socket:
                slow = Follower(slow_socket)
                await slow.step()
                for total in range(1, 13):
                    await run.telemetry.publish(LIVE_QUARANTINE, big(total))
                    await publish_minutes(run, total, 1)
                    while quick.state["quarantine"]["total"] != total:
                        await quick.step()
                await quick.until(lambda state: len(state["fleet_series"]["t_ms"]) == 12)
                assert slow.state["quarantine"]["total"] == 0
                await slow.until(lambda state: bool(state["quarantine"]["total"] == 12))
                await slow.until(lambda state: len(state["fleet_series"]["t_ms"]) == 12)
                assert slow.messages < quick.messages
                assert slow.state["fleet_series"] == quick.state["fleet_series"]
                while slow.slow != [True, False]:
                    await publish_minutes(run, 20 + slow.messages, 1)
                    await slow.step()
                assert run.plant.hub.statistics().clients == 2

    asyncio.run(scenario())


def test_client_gets_the_topics_that_it_follows_and_no_others(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as run, run.socket("?topics=alarms,nonsense") as socket:
            follower = Follower(socket)
            await follower.step()
            assert follower.state.keys() == {"now_ms", "zone", "speed", "run", "alarms", "alerts"}
            await publish_minutes(run, 0, 3)
            await follower.until(lambda state: state["now_ms"] > 0)
            assert "fleet" not in follower.state
            await follower.follow("fleet")
            await follower.follow("fleet", "market")
            await follower.follow("fleet", "market", "series")
            await follower.until(lambda state: {"fleet", "bids", "fleet_series"} <= state.keys())
            last_ms = await publish_minutes(run, 3, 3)
            await follower.until(lambda state: bool(state["fleet_series"]["t_ms"][-1:] == [last_ms]))
            assert len(follower.state["fleet_series"]["t_ms"]) == 6

    asyncio.run(scenario())


def test_client_that_comes_back_gets_what_it_missed_and_nothing_twice(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as run, run.socket() as other:
            watching = Follower(other)
            async with run.socket("?topics=series,alarms") as socket:
                follower = Follower(socket)
                await follower.step()
                last_ms = await publish_minutes(run, 0, 4)
                await follower.until(lambda state: bool(state["fleet_series"]["t_ms"][-1:] == [last_ms]))
            last_ms = await publish_minutes(run, 4, 4)
            await watching.until_now(last_ms)
            again = f"?topics=series,alarms&epoch={follower.epoch}&seq={follower.seq}"
            async with run.socket(again) as socket:
                follower._socket = socket
                message = await follower.step()
                assert message["kind"] == "delta"
                assert len(message["append"]["fleet_series"]["t_ms"]) == 4
                assert follower.state["fleet_series"] == watching.state["fleet_series"]
            for strange in (
                f"?epoch=another&seq={follower.seq}",
                f"?epoch={follower.epoch}&seq=99999",
                "?seq=-1",
            ):
                async with run.socket(strange) as socket:
                    assert (await receive(socket))["kind"] == "snapshot"
            assert run.plant.hub.statistics().resumed_total == 1

    asyncio.run(scenario())


def test_feed_is_read_while_somebody_follows_it_and_says_what_is_wrong(tmp_path: Path) -> None:
    calls: list[str] = []

    async def read(key: str) -> FeedSaid:
        calls.append(key)
        if key == "nobody":
            raise UnknownIdError("site", key)
        return FeedSaid(as_of_ms=len(calls), value={"n": len(calls)})

    async def scenario() -> None:
        async with running(tmp_path) as run:
            run.plant.hub.feeds.add(Feed(name="test", every_s=0.05, read=read))
            topics = "?topics=test/a,test/nobody,missing/x"
            async with run.socket(topics) as one, run.socket("?topics=test/a") as other:
                first, second = Follower(one), Follower(other)
                while not (first.feeds.get("test/a") and "test/nobody" in first.feeds):
                    await first.step()
                assert first.feeds["test/nobody"]["fault"] == "there is no site 'nobody'"
                assert "missing/x" not in first.feeds
                while not second.feeds.get("test/a"):
                    await second.step()
                held = second.feeds["test/a"]["value"]["n"]
                while second.feeds["test/a"]["value"]["n"] == held:
                    await second.step()
                assert run.plant.hub.statistics().feeds == 2
                await first.follow("now")
                await wait_until(lambda: run.plant.hub.statistics().feeds == 1)
            await wait_until(lambda: run.plant.hub.statistics().feeds == 0)
            seen = len(calls)
            await publish_minutes(run, 0, 1)
            await wait_until(lambda: run.plant.hub.statistics().messages_total == 1)
            assert len(calls) <= seen + 1

    asyncio.run(scenario())


def test_session_that_ends_ends_its_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_plant, "GUARD_EVERY_S", 0.05)

    async def scenario() -> None:
        async with running(tmp_path) as run:
            doorman = run.plant.doorman
            words = "four plain words here"
            doorman.users.put(
                "mia", roles=["homeowner"], sites=["home-0"], password=words, by="test", at_ns=1
            )
            doorman.forget()
            caller = await doorman.sign_in("mia", words, address="")
            headers = {"Cookie": f"{SESSION_COOKIE}={caller.secret}"}
            query = "?topics=fleet,home/home-0,home/home-1"
            async with run.socket(query, additional_headers=headers) as socket:
                follower = Follower(socket)
                await follower.step()
                assert follower.state.keys() == {"now_ms", "zone", "speed", "run"}
                while "home/home-0" not in follower.feeds:
                    await follower.step()
                assert "home/home-1" not in follower.feeds
                await doorman.sign_out(caller)
                with pytest.raises(ConnectionClosed) as closed:
                    while True:
                        await receive(socket)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4401

    asyncio.run(scenario())


def test_more_clients_than_allowed_are_told_to_come_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, max_clients=1) as run, run.socket() as one:
            await receive(one)
            async with run.socket() as other:
                with pytest.raises(ConnectionClosed) as closed:
                    await receive(other)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1013
            assert run.plant.hub.statistics().refused_total == 1

    asyncio.run(scenario())


def test_socket_asks_for_the_token_and_for_the_same_origin(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, token="a secret") as run:
            for query, origin in (
                ("", None),
                ("?token=wrong", None),
                ("?token=a%20secret", "http://x.example"),
            ):
                with pytest.raises(InvalidStatus) as refused:
                    async with run.socket(query, origin=origin):
                        pass
                assert refused.value.response.status_code == 403
            async with run.socket("?token=a%20secret", origin=f"http://127.0.0.1:{run.port}") as socket:
                assert (await receive(socket))["kind"] == "snapshot"

    asyncio.run(scenario())


def test_interface_stays_ready_while_the_fabric_is_down(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as run:
            last_ms = await publish_minutes(run, 0, 1)
            await wait_until(lambda: run.plant.hub.statistics().messages_total == 1)
            await run.fabric.stop()
            ready = await run.get("/readyz")
            assert ready.status_code == 200
            assert ready.json()["last_message_age_s"] >= 0
            assert (await run.get("/healthz")).status_code == 200
            async with run.socket() as socket:
                assert (await receive(socket))["state"]["now_ms"] == last_ms

    asyncio.run(scenario())


def test_a_ledger_that_cannot_be_read_leaves_the_page_with_what_it_had(tmp_path: Path) -> None:
    def away(now_ns: int) -> Any:
        raise UnavailableError("database", "locked")

    async def scenario() -> None:
        async with running(tmp_path, read_books=away) as run, run.socket() as socket:
            follower = Follower(socket)
            last_ms = await publish_minutes(run, 0, 1)
            await follower.until_now(last_ms)
            await wait_until(lambda: run.plant.hub.statistics().books_failed_total > 0)
            assert follower.state["bids"] == []

    asyncio.run(scenario())
