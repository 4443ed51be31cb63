"""Devices' own word of what they are set to, end to end: a droop that drifted at a site withdraws what was offered on it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from shoal.cli.roles.control import reports_to
from shoal.control.desired_book import DesiredBook
from shoal.control.leases import LeaseBook
from shoal.control.order_desk import OrderDesk
from shoal.control.parameter_intake import ParameterIntake
from shoal.domain.ids import SiteId
from shoal.domain.orders import DroopArming, SiteOrders
from shoal.edge.link import LinkSettings
from shoal.edge.site_service import SiteService
from shoal.fabric.keys import Role
from shoal.fabric.subjects import REPORT_ALL, orders_subject
from shoal.services.drift import AssumedParameters
from shoal.store.database import migrate, open_database
from shoal.store.device_parameters import DeviceParameterStore
from shoal.store.orders import Orders
from shoal.store.registry import Registry
from tests.integration.edge.test_site_plant import make_plant
from tests.integration.store.fleets import make_fleet
from tests.unit.edge.site_setup import HOUR_NS, Time, checked, home

FLEET = make_fleet(4)
SITE = SiteId(str(FLEET.site_ids[0]))
RESOURCE = str(FLEET.resources[0].resource_id)


def document(version: int, time: Time, *, full_hz: float) -> bytes:
    droop = DroopArming(
        start_ns=time.ns,
        end_ns=time.ns + HOUR_NS,
        reference_hz=50.0,
        deadband_hz=0.015,
        full_deviation_hz=full_hz,
        up_w=5_000,
    )
    orders = SiteOrders(version=version, issued_ns=time.ns, issuer="plant", fence=1, droop=droop)
    return msgspec.json.encode(orders)


def test_device_that_drifts_says_so_itself_and_the_offer_is_withdrawn(tmp_path: Path) -> None:
    async def body() -> None:
        plant, time = make_plant(tmp_path), Time()
        url = f"sqlite:///{tmp_path / 'registry.db'}"
        migrate(url)
        engine = open_database(url)
        Registry(engine).load_fleet(FLEET, valid_from_ns=0)
        store = DeviceParameterStore(engine)
        assumed = AssumedParameters(
            service="raise6sec", capacity_w=3_000, droop_frac=0.019, deadband_hz=0.015, response_s=30.0
        )
        store.assume(RESOURCE, "raise6sec", {str(SITE): assumed}, by="ann", at_ns=0)
        assert store.backing(time.ns)[0].backed_w == 0, "what is not known backs nothing"
        intake = ParameterIntake(store)
        desk = OrderDesk(FLEET, Orders(engine), book=DesiredBook(4), leases=LeaseBook(4))
        take = reports_to(FLEET, desk, time.now_ns, parameters=intake)
        await plant.server.start()
        await plant.make_streams()
        settings = checked(
            tmp_path,
            site=str(SITE),
            plant={"host": "127.0.0.1", "port": plant.server.mqtt_address[1], "tls": False},
            times={"tick_s": 10.0, "stale_s": 30.0},
        )
        async with (
            plant.callout(lambda site, secret: site == SITE and secret == "secret"),
            plant.client(Role.CONTROL) as control,
        ):

            async def heard(message: Any) -> None:
                take([message.subject.encode()], [message.data])

            await control.subscribe(REPORT_ALL, cb=heard)
            await control.flush()

            async def start() -> SiteService:
                service = SiteService(
                    settings,
                    home(time, revert_s=600.0),
                    secret="secret",
                    now_ns=time.now_ns,
                    monotonic_s=time.monotonic_s,
                    link_settings=LinkSettings(backoff_base_s=0.05, backoff_cap_s=0.3),
                )
                await service.start()
                assert service.link is not None
                assert await service.link.look_up()
                return service

            async def talk_until(service: SiteService, heard_count: int) -> None:
                assert service.link is not None
                assert service.parameters is not None
                assert service.site is not None
                async with asyncio.timeout(20):
                    while intake.statistics().heard < heard_count:
                        time.pass_s(0.05)
                        service.link.poll(time.ns)
                        service.link.send(time.ns)
                        service.parameters.tell(up=service.link.up)
                        await asyncio.sleep(0.005)
                await intake.write()

            service = await start()
            await talk_until(service, 1)
            assert store.reported()[str(SITE)].droop_frac is None, "connected, and not armed"
            await control.publish(orders_subject(SITE), document(1, time, full_hz=0.965))
            await control.flush()
            await talk_until(service, 2)
            backing = store.backing(time.ns)[0]
            assert (backing.backed_w, backing.alarm) == (3_000, None)
            # an update, a wrong document, another hand: the slope is another one
            await control.publish(orders_subject(SITE), document(2, time, full_hz=1.865))
            await control.flush()
            await talk_until(service, 3)
            backing = store.backing(time.ns)[0]
            assert backing.backed_w == 0
            assert backing.alarm is not None
            assert "droop of 3.70%" in backing.alarm.detail
            # its process dies: the next one says what its memory holds
            assert service.link is not None
            service.link.close()
            assert service.site is not None
            await service.site.close()
            if service.page is not None:
                await service.page.close()
            again = await start()
            await talk_until(again, 4)
            assert store.backing(time.ns)[0].backed_w == 0
            assert desk.statistics().refused_by_reason == {}, (
                "no report of parameters is taken for one of orders"
            )
            assert again.link is not None
            again.link.close()
            assert again.site is not None
            await again.site.close()
            if again.page is not None:
                await again.page.close()
        await plant.server.stop()

    asyncio.run(body())
