"""Enrolment on a real fabric: a device signs in with the secret it was given, and is gone as soon as that is revoked."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shoal.api.app import create_app
from shoal.domain.ids import SiteId
from shoal.fabric.admission import Admission
from shoal.fabric.revocation import Revocation
from shoal.store.devices import Devices
from shoal.store.registry import Registry
from shoal.store.secret_changes import SecretChanges
from tests.integration.fabric.plant import Device, Plant, wait_until
from tests.unit.api.doors import make_plant, make_records


@pytest.fixture
def fabric(tmp_path: Path) -> Iterator[Plant]:
    made = Plant.make(tmp_path / "fabric")
    yield made
    asyncio.run(made.server.stop())


def test_revoked_device_loses_its_connection_and_its_neighbour_does_not(
    tmp_path: Path, fabric: Plant
) -> None:
    plant = make_plant(tmp_path, records=make_records())
    registry, devices = Registry(plant.registry), Devices(plant.registry)
    admission = Admission()
    changes = SecretChanges(devices, began_ns=time.time_ns(), look_back_ns=0, believed_ns=0)

    async def changed() -> dict[str, int | None]:
        return await asyncio.to_thread(changes.read)

    async def body() -> None:
        await fabric.server.start()
        await fabric.make_streams()
        transport = httpx.ASGITransport(create_app(plant))
        revocation = Revocation(fabric.keys, admission, changed, every_s=0.2, kept_out_s=0.5)

        async def act(device: str, what: str, **body: Any) -> Any:
            path = f"/api/admin/devices/{device}/{what}"
            answer = await caller.post(path, json=body or None)
            assert answer.status_code == 200, answer.text
            return answer.json()

        def good(site: str, secret: str) -> bool:
            return registry.verify(SiteId(site), secret)

        def signs_in(site: str, secret: str) -> bool:
            with Device.signing_in(fabric, site, secret) as (_, accepted):
                return accepted

        async with (
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8765") as caller,
            fabric.callout(good, admission=admission, cache_s=0.1),
        ):
            watching = asyncio.create_task(revocation.serve(fabric.server.url))
            await wait_until(lambda: changes.reached is not None)
            secrets = {name: (await act(name, "enrol"))["secret"] for name in ("home-0", "home-1")}
            with contextlib.ExitStack() as stack:
                there: dict[str, Device] = {}
                for name, secret in secrets.items():
                    signing = Device.signing_in(fabric, name, secret)
                    there[name], accepted = await asyncio.to_thread(stack.enter_context, signing)
                    assert accepted
                said = await act("home-0", "revoke", reason="stolen")
                assert said["state"] == "revoked"
                # the server ends it: nobody at the device's side does
                await asyncio.to_thread(there["home-0"].result, "disconnect")
                await wait_until(lambda: not admission.statistics().cut_off)
                assert revocation.statistics().devices_total == 1, "a first secret takes nothing from anybody"
            assert not await asyncio.to_thread(signs_in, "home-0", secrets["home-0"])
            assert await asyncio.to_thread(signs_in, "home-1", secrets["home-1"])
            fresh = (await act("home-0", "enrol"))["secret"]
            await wait_until(lambda: revocation.statistics().devices_total == 2)
            await wait_until(lambda: not admission.statistics().cut_off)
            assert await asyncio.to_thread(signs_in, "home-0", fresh)
            assert revocation.statistics().ended_total == 1
            assert revocation.statistics().failures_total == 0
            watching.cancel()
            await asyncio.wait([watching])

    asyncio.run(body())
