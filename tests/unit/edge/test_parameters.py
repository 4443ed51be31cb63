"""What a site says that it is set to: when, and what; and what the plant takes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.control.parameter_intake import ParameterIntake
from shoal.domain.errors import InvalidInputError, UnavailableError, UnknownIdError, WireFormatError
from shoal.domain.orders import DroopArming, OrderReport, SiteOrders
from shoal.edge.agent_columns import AgentColumns
from shoal.edge.drivers.protocol import Parameters
from shoal.edge.parameters_report import (
    SAY_AGAIN_S,
    ParametersReport,
    decode_parameters,
    encode_parameters,
    is_parameters,
)
from shoal.edge.site_parameters import LOOK_S, SiteParameters
from shoal.services.drift import DeviceParameters
from shoal.simulate.home_parameters import HomeParameters
from shoal.simulate.site_driver import SimulatedSite
from tests.unit.edge.site_setup import HOUR_NS, Time, home, live, site
from tests.unit.edge.sites import nameplates


def arming(time: Time, *, full_hz: float = 0.965, hours: int = 2) -> DroopArming:
    return DroopArming(
        start_ns=time.ns,
        end_ns=time.ns + hours * HOUR_NS,
        reference_hz=50.0,
        deadband_hz=0.015,
        full_deviation_hz=full_hz,
        up_w=5_000,
    )


def document(version: int, time: Time, droop: DroopArming | None) -> bytes:
    orders = SiteOrders(version=version, issued_ns=time.ns, issuer="plant", fence=1, droop=droop)
    return msgspec.json.encode(orders)


class Talk:
    """Who hears a site's reports, while there is a line."""

    def __init__(self) -> None:
        self.heard: list[ParametersReport] = []
        self.works = True

    def say(self, payload: bytes) -> bool:
        if self.works:
            self.heard.append(decode_parameters(payload))
        return self.works


class Updated(SimulatedSite):
    """A home whose firmware can be updated, and whose device may fail to answer."""

    firmware = "2.1"
    power_w = 5_000
    fails = False

    async def parameters(self) -> Parameters:
        if self.fails:
            raise OSError("no answer")
        return Parameters(maker="m", model="b", firmware=self.firmware, discharge_limit_w=self.power_w)


def test_site_says_what_it_is_set_to_at_each_session_and_on_each_change(tmp_path: Path) -> None:
    async def body() -> None:
        time, talk = Time(), Talk()
        plain = home(time)
        driver = Updated(
            now_ns=time.now_ns,
            capacity_kwh=13.5,
            power_kw=5.0,
            household=plain.world._profiles,  # type: ignore[arg-type]
        )
        agent = site(tmp_path, time, driver)
        parameters = SiteParameters(agent, driver, await driver.parameters(), say=talk.say)

        async def step(seconds: float = 10.0, *, up: bool = True) -> None:
            await live(agent, time, seconds)
            await parameters.look()
            parameters.tell(up=up)

        await step(up=False)
        assert talk.heard == []
        talk.works = False
        await step()
        talk.works = True
        await step()
        await step()
        (first,) = talk.heard
        assert (first.droop_frac, first.limit_w, first.firmware) == (None, 5_000, "m b 2.1")
        assert first.response_s == 10.0
        agent.hear("orders", document(1, time, arming(time)))
        await step()
        assert talk.heard[-1].droop_frac == pytest.approx(0.019)
        assert talk.heard[-1].deadband_hz == 0.015
        agent.hear("orders", document(2, time, arming(time, hours=3)))
        await step()
        assert len(talk.heard) == 2, "the same droop for longer is no news"
        agent.hear("orders", document(3, time, arming(time, full_hz=1.865)))
        await step()
        assert talk.heard[-1].droop_frac == pytest.approx(0.037)
        driver.fails = True
        await step(LOOK_S + 10.0)
        assert len(talk.heard) == 3
        driver.fails, driver.firmware, driver.power_w = False, "3.0", 4_000
        await step(LOOK_S + 10.0)
        assert (talk.heard[-1].firmware, talk.heard[-1].limit_w) == ("m b 3.0", 4_000)
        await step(up=False)
        await step()
        assert len(talk.heard) == 5, "a new session begins with it"
        await step(4 * 3_600.0)
        assert talk.heard[-1].droop_frac is None, "what has ended is not set"
        count = len(talk.heard)
        await step(SAY_AGAIN_S + 10.0)
        assert len(talk.heard) == count + 1

    asyncio.run(body())


def test_reports_of_orders_and_of_parameters_are_told_apart() -> None:
    orders = OrderReport(kind="orders", version=1, outcome="applied", t_ns=1)
    assert not is_parameters(msgspec.json.encode(orders))
    report = ParametersReport(t_ns=5, droop_frac=0.02)
    assert is_parameters(encode_parameters(report))
    assert decode_parameters(encode_parameters(report)) == report
    assert report.of("home-1", heard_ns=9) == DeviceParameters(site_id="home-1", t_ns=9, droop_frac=0.02)
    with pytest.raises(WireFormatError):
        decode_parameters(msgspec.json.encode(orders))


class Store:
    """A store that refuses some sites and cannot always be reached."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.away = False

    def report(self, reports: Sequence[DeviceParameters]) -> int:
        if self.away:
            raise UnavailableError("the registry", "it is away")
        for one in reports:
            if one.site_id == "unknown":
                raise UnknownIdError("site", one.site_id)
            if one.droop_frac is not None and one.droop_frac < 0:
                raise InvalidInputError(field="droop_frac", value=one.droop_frac, fix="give 0 or more")
        self.kept += [one.site_id for one in reports]
        return len(reports)


def test_one_bad_report_stops_no_other_and_what_cannot_be_kept_waits() -> None:
    store = Store()
    intake = ParameterIntake(store)
    good = encode_parameters(ParametersReport(t_ns=1, droop_frac=0.02))
    bad = encode_parameters(ParametersReport(t_ns=1, droop_frac=-1.0))
    intake.take("a", good, 10)
    intake.take("unknown", good, 10)
    intake.take("b", bad, 10)
    intake.take("c", good, 10)
    intake.take("d", b'{"kind":"parameters","t_ns":"soon"}', 10)
    intake.take("e", b'{"kind":"parameters",' + b" " * 5_000, 10)
    store.away = True
    asyncio.run(intake.write())
    assert intake.statistics().waiting == 4
    store.away = False
    intake.take("c", good, 11)
    asyncio.run(intake.write())
    assert sorted(store.kept) == ["a", "c"]
    found = intake.statistics()
    assert (found.heard, found.kept, found.waiting) == (7, 2, 0)
    assert found.refused == {"malformed": 1, "too_long": 1, "unknown": 1, "out_of_range": 1}


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=300) | st.text(max_size=100).map(lambda text: b'{"kind":"parameters",' + text.encode())
)
def test_whatever_a_device_says_the_intake_goes_on(payload: bytes) -> None:
    intake = ParameterIntake(Store())
    intake.take("a", payload, 1)
    asyncio.run(intake.write())
    assert intake.statistics().heard == 1


def test_simulated_homes_say_their_droop_once_it_is_armed_and_when_it_changes() -> None:
    agents = AgentColumns(nameplates(2))
    homes = HomeParameters(agents)
    assert homes.changed(0, 0) is None
    agents.droop["end_ns"][0], agents.droop["up_w"][0] = 100, 5_000
    agents.droop["reference_hz"][0], agents.droop["full_deviation_hz"][0] = 50.0, 1.0
    said = homes.changed(0, 0)
    assert said is not None
    assert decode_parameters(said).droop_frac == pytest.approx(0.02)
    assert homes.changed(0, 50) is None
    agents.droop["full_deviation_hz"][0] = np.float64(2.0)
    assert homes.changed(0, 60) is not None
    assert homes.changed(0, 200) is not None, "and that it is no longer armed"
    assert homes.changed(1, 200) is None
