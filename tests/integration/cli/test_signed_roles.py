"""Commands through the plant's own processes: the control role signs, the simulated homes check, and nobody else is obeyed.

Who attacks here has the broker in hand: it publishes on the subjects of devices with every right to do so, and lacks the keys.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import nats
from nats.aio.msg import Msg

from shoal.cli.plant import free_ports, start_role
from shoal.cli.roles.homes import master_secret, register_fleet
from shoal.control.issuing import issuer_of
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.orders import OrderReport, SiteOrders
from shoal.edge.signed import Verifier
from shoal.fabric.command_keys import CommandKeys
from shoal.fabric.connection import connect
from shoal.fabric.keys import Keys, Role
from shoal.fabric.subjects import REPORT_ALL, downlink_subjects, orders_subject, report_subject
from shoal.runtime.settings import Settings
from shoal.runtime.supervisor import Supervisor
from shoal.simulate.fleet import site_secret
from shoal.store.database import open_database
from shoal.store.order_records import EventSpec, Order, Scope
from shoal.store.orders import Orders
from tests.integration.fabric.plant import wait_until

ROLES = ("fabric", "telemetry", "control", "homes")
LISTENERS = ("client_port", "mqtt_port", "websocket_port", "monitor_port")
START_TIMEOUT_S = 120.0
WAIT_S = 30.0


def settings_of(directory: Path) -> Settings:
    ports = dict(zip((f"fabric.{name}" for name in LISTENERS), free_ports(len(LISTENERS)), strict=True))
    values = {"data_dir": directory, "demo.sites": 6, "demo.gateway_frac": 0.0, **ports}
    return Settings().with_values(values, "the test")


def event(hours: int, revision: int, now_ns: int) -> Order:
    return Order(
        order_id="peak-1",
        program="peak",
        scope=Scope(fleet=True),
        start_ns=now_ns + NS_PER_HOUR,
        end_ns=now_ns + hours * NS_PER_HOUR,
        spec=EventSpec(kind="power", battery_w=-1_500),
        by="ann",
        at_ns=now_ns,
        revision=revision,
    )


def test_forged_replayed_and_foreign_commands_are_refused_and_audited(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert settings.control.sign, "a plant signs unless it is told not to"
    fleet = register_fleet(settings)
    site = fleet.site_ids[-1]
    secret = site_secret(master_secret(settings), str(site))
    settings_file = tmp_path / "run" / "settings.json"
    settings.save(settings_file)
    url = f"nats://{settings.fabric.host}:{settings.fabric.client_port}"
    orders = Orders(open_database(f"sqlite:///{tmp_path / 'registry.db'}"))
    frames: list[bytes] = []
    reports: list[OrderReport] = []

    async def tapped(message: Msg) -> None:
        if message.subject == orders_subject(site):
            frames.append(message.data)

    async def reported(message: Msg) -> None:
        if message.subject == report_subject(site):
            reports.append(msgspec.json.decode(message.data, type=OrderReport))

    def versions() -> list[int]:
        return [one.version for one in reports if one.kind == "orders" and one.outcome == "applied"]

    async def body() -> None:
        async with Supervisor(run_dir=tmp_path / "run") as supervisor:
            for role in ROLES:
                start_role(supervisor, role, data_dir=tmp_path, settings_file=settings_file)
            await supervisor.wait_ready(timeout_s=START_TIMEOUT_S)
            keys = CommandKeys.create_or_load(tmp_path / "keys")
            tap = await nats.connect(url, user=str(site), password=secret)
            attacker = await connect(
                url, seed=Keys.create_or_load(tmp_path / "keys").seed(Role.CONTROL), name="x"
            )
            try:
                await tap.subscribe(downlink_subjects(site), cb=tapped)
                await tap.flush()
                await attacker.subscribe(REPORT_ALL, cb=reported)
                await attacker.flush()
                now_ns = time.time_ns()
                for count, hours in enumerate((2, 3), 1):
                    orders.put(event(hours, count, now_ns))
                    await wait_until(lambda count=count: len(versions()) == count, timeout_s=WAIT_S)  # type: ignore[misc]
                first, second = frames
                payload = Verifier(keys.root_public, "plant").open(
                    str(site), "orders", second, time.time_ns()
                )
                document = msgspec.json.decode(payload, type=SiteOrders)
                assert [one.end_ns for one in document.events] == [now_ns + 3 * NS_PER_HOUR]
                wicked = msgspec.json.encode(
                    msgspec.structs.replace(document, version=document.version + 9, halted=True, events=())
                )
                foreign = issuer_of(keys, name="control", tenant="other", now_ns=time.time_ns())
                stranger = issuer_of(
                    CommandKeys.create_or_load(tmp_path / "stranger"), name="control", now_ns=time.time_ns()
                )
                message = (str(site), "orders", wicked)
                of_another_site = issuer_of(keys, name="control", now_ns=time.time_ns()).sign_batch(
                    [(str(fleet.site_ids[0]), "orders", wicked)]
                )
                attacks = {
                    "unsigned": wicked,
                    "forged": second[: -len(payload)] + wicked,
                    "other_tenant": foreign.sign_batch([message])[0],
                    "replayed": first,
                }
                for frame in (*attacks.values(), *stranger.sign_batch([message]), *of_another_site):
                    await attacker.publish(orders_subject(site), frame)
                await attacker.flush()

                def refused() -> list[tuple[str, str]]:
                    return [(line.by, line.reason) for line in orders.audit(50, refused_only=True)]

                await wait_until(lambda: len(refused()) == len(attacks) + 2, timeout_s=WAIT_S)
                assert sorted(refused()) == sorted(
                    (str(site), reason) for reason in (*attacks, "forged", "forged")
                )
                assert versions() == sorted(set(versions())), "nothing taken twice"
                assert len(versions()) == 2, "and nothing of the attacker's"
            finally:
                await tap.close()
                await attacker.close()

    asyncio.run(body())
