"""The SunSpec driver against devices of independent making, with the four numbers: solar -5, battery +3, load +1, site -1 kW."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from shoal.domain.errors import InvalidInputError, UnavailableError, WireFormatError
from shoal.edge.drivers.factory import make_driver
from shoal.edge.drivers.modbus_tcp import ModbusTcp
from shoal.edge.drivers.protocol import Measurement
from shoal.edge.drivers.sunspec import SunSpecDevice
from shoal.edge.drivers.sunspec_site import SunSpecAddress, SunSpecSite
from tests.integration.edge.broker import free_port
from tests.integration.edge.sunspec_server import COMMON, Models, read_back, serving

METER: Models = [
    COMMON,
    (
        203,
        {
            "W": -100,
            "W_SF": 1,
            "Hz": 4_998,
            "Hz_SF": -2,
            "TotWhExp": 4_500,
            "TotWhImp": 1_200,
            "TotWh_SF": 1,
        },
    ),
]
ROOF: Models = [COMMON, (103, {"W": 5_000, "W_SF": 0, "Hz": 5_000, "Hz_SF": -2})]
STORAGE_124 = {
    "WChaMax": 500,
    "WChaMax_SF": 1,
    "StorCtl_Mod": 0,
    "ChaState": 5_400,
    "ChaState_SF": -2,
    "InOutWRte_SF": -2,
    "OutWRte": 10_000,
    "InWRte": 10_000,
    "InOutWRte_WinTms": 0,
    "InOutWRte_RvrtTms": 0,
    "ChaGriSet": 0,
}
BATTERY_OLD: Models = [
    COMMON,
    (101, {"W": -30, "W_SF": 2, "Hz": 5_001, "Hz_SF": -2}),
    (120, {"WRtg": 50, "WRtg_SF": 2, "WHRtg": 135, "WHRtg_SF": 2}),
    (124, STORAGE_124),
]
BATTERY_NEW: Models = [
    COMMON,
    (
        701,
        {
            "W": -3_000,
            "W_SF": 0,
            "Hz": 50_020,
            "Hz_SF": -3,
            "TotWhInj": 700,
            "TotWhAbs": 900,
            "TotWh_SF": 0,
        },
    ),
    (
        802,
        {
            "WHRtg": 135,
            "WHRtg_SF": 2,
            "WChaRteMax": 46,
            "WDisChaRteMax": 50,
            "WChaDisChaMax_SF": 2,
            "SoC": 540,
            "SoC_SF": -1,
        },
    ),
    (704, {"WSetEna": 0, "WSetMod": 0, "WSet": 0, "WSet_SF": 1, "WSetRvrtTms": 0, "WSetEnaRvrt": 1}),
]
HYBRID: Models = [
    COMMON,
    (113, {"W": 2_000.0, "Hz": 50.0}),
    (
        160,
        {
            "DCW_SF": 1,
            "N": 2,
            "module": [{"ID": 1, "DCW": 200}, {"ID": 2, "DCW": 300}],
        },
    ),
    (124, STORAGE_124),
]


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(body)


def address(port: int, role: Any, unit: int = 1, **options: Any) -> SunSpecAddress:
    return SunSpecAddress(role=role, host="127.0.0.1", port=port, unit=unit, **options)


def check_four_numbers(seen: Measurement) -> None:
    assert (seen.solar_w, seen.battery_w, seen.load_w, seen.grid_w) == (-5_000, 3_000, 1_000, -1_000)
    assert seen.soc_frac == pytest.approx(0.54)


@pytest.mark.parametrize("battery", [BATTERY_OLD, BATTERY_NEW])
def test_battery_roof_and_meter_of_their_own_give_the_four_numbers(battery: Models) -> None:
    async def body() -> None:
        async with serving({1: battery, 2: ROOF, 3: METER}) as port:
            site = SunSpecSite(
                [address(port, "battery"), address(port, "solar", 2), address(port, "meter", 3)]
            )
            seen = await site.read()
            check_four_numbers(seen)
            assert (seen.import_wh, seen.export_wh) == (12_000, 45_000)
            assert seen.frequency_hz == pytest.approx(49.98)
            if battery is BATTERY_NEW:
                assert (seen.charge_wh, seen.discharge_wh) == (900, 700)
            await site.close()

    run(body())


def test_hybrid_inverter_gives_the_four_numbers() -> None:
    async def body() -> None:
        async with serving({1: HYBRID, 3: METER}) as port:
            site = SunSpecSite([address(port, "hybrid"), address(port, "meter", 3)])
            check_four_numbers(await site.read())
            await site.close()

    run(body())


def test_meter_that_counts_exports_as_positive_is_turned_round() -> None:
    meter: Models = [COMMON, (213, {"W": 1_000.0, "Hz": 50.0, "TotWhExp": 12.0, "TotWhImp": 45.0})]

    async def body() -> None:
        async with serving({1: BATTERY_OLD, 2: ROOF, 3: meter}) as port:
            site = SunSpecSite(
                [
                    address(port, "battery"),
                    address(port, "solar", 2),
                    address(port, "meter", 3, import_positive=False),
                ]
            )
            seen = await site.read()
            check_four_numbers(seen)
            assert (seen.import_wh, seen.export_wh) == (12, 45)
            await site.close()

    run(body())


def test_storage_model_is_commanded_from_both_sides_and_reverts_by_itself() -> None:
    async def body() -> None:
        async with serving({1: BATTERY_OLD}) as port:
            site = SunSpecSite([address(port, "battery")], revert_s=45)
            points = (
                "InWRte",
                "OutWRte",
                "StorCtl_Mod",
                "InOutWRte_RvrtTms",
                "InOutWRte_WinTms",
                "ChaGriSet",
            )
            await site.write(3_000)
            assert await read_back(port, 124, *points) == [60.0, -60.0, 3, 45, 0, 0], "from the roof alone"
            allowed = SunSpecSite([address(port, "battery", allow_grid=True)], revert_s=45)
            await allowed.write(3_000)
            await allowed.close()
            assert await read_back(port, 124, *points) == [60.0, -60.0, 3, 45, 0, 1]
            await site.write(-1_250)
            assert await read_back(port, 124, *points[:2]) == [-25.0, 25.0]
            await site.write(0)
            assert await read_back(port, 124, *points[:3]) == [0.0, 0.0, 3]
            await site.write(99_000)
            assert await read_back(port, 124, "InWRte") == [100.0]
            await site.release()
            assert await read_back(port, 124, "StorCtl_Mod") == [0]
            said = await site.parameters()
            assert (said.charge_limit_w, said.discharge_limit_w, said.energy_capacity_wh) == (
                5_000,
                5_000,
                13_500,
            )
            assert (said.maker, said.model) == ("Reef", "Box 5")
            await site.close()

    run(body())


def test_power_model_is_commanded_in_watts_and_reverts_by_itself() -> None:
    async def body() -> None:
        async with serving({1: BATTERY_NEW}) as port:
            site = SunSpecSite([address(port, "battery")], revert_s=45)
            points = ("WSet", "WSetEna", "WSetMod", "WSetRvrtTms", "WSetEnaRvrt")
            await site.write(3_000)
            assert await read_back(port, 704, *points) == [-3_000, 1, 1, 45, 0]
            await site.write(-1_250)
            assert await read_back(port, 704, "WSet") == [1_250]
            await site.release()
            assert await read_back(port, 704, "WSetEna") == [0]
            said = await site.parameters()
            assert (said.charge_limit_w, said.discharge_limit_w, said.energy_capacity_wh) == (
                4_600,
                5_000,
                13_500,
            )
            await site.close()

    run(body())


def test_set_point_of_a_hybrid_is_for_roof_and_battery_together() -> None:
    models: Models = [*HYBRID[:3], *BATTERY_NEW[2:]]

    async def body() -> None:
        async with serving({1: models}) as port:
            site = SunSpecSite([address(port, "hybrid")])
            await site.read()
            await site.write(3_000)
            assert await read_back(port, 704, "WSet") == [2_000]
            await site.close()

    run(body())


def test_driver_made_from_a_configuration_reads_at_another_base() -> None:
    async def body() -> None:
        async with serving({7: BATTERY_NEW}, base=0) as port:
            section = {
                "kind": "sunspec",
                "devices": [{"role": "battery", "host": "127.0.0.1", "port": port, "unit": 7}],
            }
            site = make_driver(section, revert_s=60, stale_s=30)
            seen = await site.read()
            assert (seen.battery_w, seen.load_w, seen.grid_w) == (3_000, None, None)
            await site.close()

    run(body())


def test_roof_that_sleeps_does_not_stop_the_battery() -> None:
    async def body() -> None:
        now_s = 0.0
        dark: Models = [COMMON, (103, {"W_SF": 0})]
        async with serving({1: BATTERY_NEW, 2: dark, 3: METER}) as port:
            devices = [address(port, "solar", 2), address(port, "battery"), address(port, "meter", 3)]
            site = SunSpecSite(devices, monotonic_s=lambda: now_s)
            seen = await site.read()
            assert (seen.solar_w, seen.battery_w, seen.grid_w, seen.load_w) == (None, 3_000, -1_000, -4_000)
            await site.close()
            port_of_light = port
        async with serving({1: BATTERY_NEW, 2: ROOF, 3: METER}, port=port_of_light):
            assert (await read_when_back(site)).solar_w is None, "it is left alone for a while"
            now_s += 61.0
            check_four_numbers(await site.read())
            await site.close()

    run(body())


def test_device_that_was_away_is_read_again() -> None:
    async def body() -> None:
        port = free_port()
        site = SunSpecSite([address(port, "battery")], timeout_s=0.5)
        with pytest.raises(UnavailableError):
            await site.read()
        for model, power_w in ((BATTERY_OLD, 3_000), (BATTERY_NEW, 3_000)):
            async with serving({1: model}, port=port):
                # the first request after it went away may meet the dead connection
                seen = await read_when_back(site)
                assert seen.battery_w == power_w
            with pytest.raises(UnavailableError):
                await site.read()
        await site.close()

    run(body())


async def read_when_back(site: SunSpecSite) -> Measurement:
    for _ in range(3):
        try:
            return await site.read()
        except UnavailableError:
            continue
    raise AssertionError("it never came back")


def test_device_without_a_map_or_without_what_is_needed_is_told() -> None:
    async def body() -> None:
        silent: Models = [COMMON, (103, {"W_SF": 0})]
        async with serving({1: [COMMON], 2: silent, 3: BATTERY_OLD}) as port:
            for unit, role in ((1, "battery"), (2, "battery"), (3, "meter"), (3, "hybrid")):
                site = SunSpecSite([address(port, role, unit)])
                with pytest.raises(WireFormatError):
                    await site.read()
                await site.close()
            meter_only = SunSpecSite([address(port, "meter", 3)])
            with pytest.raises(WireFormatError):
                await meter_only.write(100)
            await meter_only.close()
        async with serving({1: [COMMON]}, base=39_000) as port:
            device = SunSpecDevice(ModbusTcp("127.0.0.1", port, 1), revert_s=60)
            with pytest.raises(WireFormatError, match="no SunSpec map"):
                await device.refresh()
            await device.close()

    run(body())


def test_late_and_foreign_answers_end_the_connection_and_are_never_taken_for_others() -> None:
    async def body() -> None:
        asked = 0

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            try:
                while request := await reader.readexactly(12):
                    asked += 1
                    if asked == 1:
                        continue  # no answer
                    number = request[:2] if asked != 2 else b"\xab\xcd"
                    writer.write(number + b"\0\0\0\x05\x01\x03\x02\0\x2a")
                    await writer.drain()
            except (asyncio.IncompleteReadError, OSError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = int(server.sockets[0].getsockname()[1])
        modbus = ModbusTcp("127.0.0.1", port, 1, timeout_s=0.2)
        with pytest.raises(UnavailableError, match="in time"):
            await modbus.read(1, 1)
        with pytest.raises(WireFormatError):
            await modbus.read(1, 1)
        assert await modbus.read(1, 1) == [42]
        with pytest.raises(InvalidInputError):
            await modbus.write(1, [])
        await modbus.close()
        server.close()
        await server.wait_closed()

    run(body())


def test_sites_that_make_no_sense_are_refused() -> None:
    for roles in ([], ["battery", "hybrid"], ["meter", "meter"]):
        with pytest.raises(InvalidInputError):
            SunSpecSite([address(502, role) for role in roles])
    with pytest.raises(InvalidInputError):
        ModbusTcp("127.0.0.1", 502, 256)
