"""A site's agent against the plant's real engine and sign-in: signed orders, a cut of hours, and what comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from nacl.signing import SigningKey

from shoal.domain.desired import DurableUpTo
from shoal.domain.ids import SiteId
from shoal.domain.orders import OrderReport, PriceSeries, SiteOrders
from shoal.domain.wire import decode
from shoal.edge.link import LinkSettings
from shoal.edge.modes import Mode
from shoal.edge.signed import Issuer, make_certificate
from shoal.edge.site_service import SiteService
from shoal.fabric.keys import Role
from shoal.fabric.subjects import durable_subject, orders_subject, report_subject
from tests.integration.edge.broker import free_port
from tests.integration.fabric.plant import Plant
from tests.unit.edge.site_setup import HOUR_NS, Time, checked, home

SITE = SiteId("home-1")
SECRET = "secret-of-home-1"
TICK_S = 30.0
ROOT = SigningKey(bytes(range(32)))
PLANT_KEY = SigningKey(bytes(range(1, 33)))


def issuer_for(tenant: str) -> Issuer:
    certificate = make_certificate(
        bytes(ROOT),
        issuer="plant",
        tenant=tenant,
        public_key=bytes(PLANT_KEY.verify_key),
        not_before_ns=0,
        not_after_ns=2**62,
        kinds=("desired", "orders"),
        programs=("*",),
    )
    return Issuer(bytes(PLANT_KEY), certificate)


def make_plant(folder: Path) -> Plant:
    ports = {name: free_port() for name in ("client_port", "mqtt_port", "websocket_port", "monitoring_port")}
    return Plant.make(folder, **ports)


class Box:
    """The agent, moved on by hand."""

    def __init__(self, folder: Path, plant: Plant, time: Time, **changed: Any) -> None:
        settings = checked(
            folder,
            plant={
                "host": "127.0.0.1",
                "port": plant.server.mqtt_address[1],
                "tls": False,
                "root_public_key": bytes(ROOT.verify_key).hex(),
                "tenant": "reef",
            },
            times={"tick_s": TICK_S, "stale_s": 90.0},
            **changed,
        )
        self.time = time
        self.service = SiteService(
            settings,
            home(time, revert_s=600.0),
            secret=SECRET,
            now_ns=time.now_ns,
            monotonic_s=time.monotonic_s,
            link_settings=LinkSettings(backoff_base_s=0.05, backoff_cap_s=0.3),
        )

    async def start(self) -> None:
        await self.service.start()
        assert self.service.link is not None
        assert await self.service.link.look_up()

    async def live(self, seconds: float) -> None:
        """Let simulated time pass."""
        for _ in range(round(seconds / TICK_S)):
            self.time.pass_s(TICK_S)
            assert self.service.site is not None
            await self.service.site.step()
            await self.talk()

    async def talk(self) -> None:
        assert self.service.link is not None
        self.service.link.poll(self.time.now_ns())
        self.service.link.send(self.time.now_ns())
        await asyncio.sleep(0)

    async def talk_until(self, condition: Callable[[], bool]) -> None:
        """Let wall time pass, with the simulated clock creeping, until something has come."""
        async with asyncio.timeout(20):
            while not condition():
                self.time.s += 0.05
                await self.talk()
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        assert self.service.link is not None
        assert self.service.site is not None
        self.service.link.close()
        if self.service.page is not None:
            await self.service.page.close()
        await self.service.site.close()

    async def page(self) -> str:
        """Return the page as a browser gets it."""
        assert self.service.page is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", self.service.page.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        answer = await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return answer.decode()


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(body)


def signed(version: int, time: Time, tenant: str = "reef", **content: Any) -> bytes:
    document = SiteOrders(version=version, issued_ns=time.ns, issuer="plant", fence=1, **content)
    (frame,) = issuer_for(tenant).sign_batch([(SITE, "orders", msgspec.json.encode(document))])
    return frame


def prices(time: Time, hours: int) -> PriceSeries:
    return PriceSeries(
        start_ns=time.ns // HOUR_NS * HOUR_NS,
        step_s=3_600,
        import_per_kwh=(0.2,) * (hours + 1),
        export_per_kwh=(0.1,) * (hours + 1),
    )


def verify(site: str, secret: str) -> bool:
    return site == SITE and secret == SECRET


def test_agent_lives_through_a_cut_of_hours_and_says_everything_afterwards(tmp_path: Path) -> None:
    async def body() -> None:
        plant, time = make_plant(tmp_path), Time()
        await plant.server.start()
        await plant.make_streams()
        box = Box(tmp_path, plant, time)
        await box.start()
        link, site = box.service.link, box.service.site
        assert link is not None
        assert site is not None
        reports: list[OrderReport] = []

        async with (
            plant.callout(verify),
            plant.client(Role.CONTROL) as control,
            plant.client(Role.TELEMETRY) as telemetry,
        ):
            await box.talk_until(lambda: link.up)

            async def heard(message: Any) -> None:
                reports.append(msgspec.json.decode(message.data, type=OrderReport))

            await control.subscribe(report_subject(SITE), cb=heard)
            await control.flush()
            await control.publish(orders_subject(SITE), signed(1, time, "elsewhere", prices=prices(time, 2)))
            await control.publish(
                orders_subject(SITE),
                msgspec.json.encode(SiteOrders(version=1, issued_ns=0, issuer="x", fence=9)),
            )
            await control.publish(orders_subject(SITE), signed(1, time, prices=prices(time, 2)))
            await control.publish(orders_subject(SITE), signed(1, time, halted=True))
            await box.talk_until(lambda: len(reports) >= 4)
            assert [(one.outcome, one.reason) for one in reports[:4]] == [
                ("refused", "other_tenant"),
                ("refused", "unsigned"),
                ("applied", ""),
                ("refused", "stale_version"),
            ]
            await box.live(600)
            assert site.decision is not None
            assert site.decision.mode.mode is Mode.PRICE
            said = 10
            await telemetry.publish(
                durable_subject(SITE), msgspec.json.encode(DurableUpTo(seq=site.store.last_seq - 3))
            )
            await telemetry.flush()
            await box.talk_until(lambda: len(site.store) == 3)
            assert "connected" in await box.page()

        await plant.server.stop()
        await box.talk_until(lambda: not link.up)
        await box.live(5 * 3_600)
        assert (site.decision.mode.mode, site.decision.mode.reason) == (Mode.LOCAL, "prices_ended")
        assert len(site.store) == 303
        page = await box.page()
        assert "out of reach" in page
        assert "303 of 1800" in page
        assert "what the plant had asked" not in page

        await plant.server.start()
        async with (
            plant.callout(verify),
            plant.reader() as reader,
            plant.client(Role.TELEMETRY) as telemetry,
        ):
            await box.talk_until(lambda: link.up)
            expected = site.store.last_seq
            first = expected - (300 + said) + 1
            heard_seq: dict[int, Any] = {}
            async with asyncio.timeout(20):
                while len(heard_seq) < 300 + said:
                    time.s += 0.1
                    await box.talk()
                    batch = await reader.read(0.05)
                    for payload in () if batch is None else batch.payloads:
                        records, oldest, _ = decode(payload)
                        assert (oldest <= records["seq"]).all()
                        heard_seq.update(zip(records["seq"].tolist(), records, strict=True))
            assert sorted(heard_seq) == list(range(first, expected + 1)), "nothing is missing"
            times = np.array([heard_seq[seq]["ts_ns"] for seq in sorted(heard_seq)])
            assert (np.diff(times) == 60_000_000_000).all()
            kept = site.store.records_since(0, 1_000)
            for record in kept:
                assert heard_seq[int(record["seq"])]["battery_w"] == record["battery_w"]
                assert heard_seq[int(record["seq"])]["import_wh"] == record["import_wh"]
            await telemetry.publish(durable_subject(SITE), msgspec.json.encode(DurableUpTo(seq=expected)))
            await telemetry.flush()
            await box.talk_until(lambda: len(site.store) == 0)
        await box.close()
        await plant.server.stop()

    run(body())
