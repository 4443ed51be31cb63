"""The simulated homes on connections in memory: what they say, how often, and what their own books make of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.clock import Stage, Tick
from shoal.domain.desired import DesiredState, DurableUpTo
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, local_midnight_ns
from shoal.domain.negotiate import answer_hello, refuse_versions
from shoal.domain.pace import Pace, encode_pace
from shoal.domain.telemetry import DeviceType, mask_of
from shoal.domain.wire import decode
from shoal.edge.downlink import Message
from shoal.edge.link import LinkStatistics
from shoal.simulate.fleet import devices_of, plan_fleet, present_of
from shoal.simulate.homes import REPORT_S, Homes
from shoal.simulate.network import FaultModel
from shoal.simulate.physics import HomeWorld
from shoal.simulate.profiles import ZONE, Profiles
from tests.unit.bidding.plans import DAY

FLEET = plan_fleet(6, 1)
SITES = len(FLEET.site_ids)
START_NS = local_midnight_ns(DAY, ZONE)
Minute = tuple[int, dict[str, int]]


class Wires:
    """The links' interface without a network: messages are lists."""

    def __init__(self, devices: int = SITES) -> None:
        self.up = np.zeros(devices, dtype=np.bool_)
        self.sent: list[tuple[int, bytes]] = []
        self.lost: list[tuple[int, bytes]] = []
        self.inbox: list[Message] = []
        self.hellos: list[int] = []
        self.spread_s = 0.0
        self.closed = False
        self._newly: set[int] = set()
        self._pipe = os.pipe()

    def connect_all(self, max_rate_per_s: float) -> None:
        assert max_rate_per_s > 0
        self.raise_up(range(len(self.up)))

    def raise_up(self, rows: Any) -> None:
        self.up[list(rows)] = True
        self._newly.update(rows)

    def cut(self, rows: list[int], lose: int = 0) -> None:
        """Break connections; the last `lose` messages sent were still in a buffer."""
        self.up[rows] = False
        for _ in range(lose):
            self.lost.append(self.sent.pop())

    def publish(self, row: int, payload: bytes) -> bool:
        if self.up[row]:
            self.sent.append((row, payload))
        return bool(self.up[row])

    def publish_many(self, rows: NDArray[np.int64], payloads: list[bytes]) -> int:
        return sum(self.publish(row, payload) for row, payload in zip(rows.tolist(), payloads, strict=True))

    def publish_hello(self, row: int, payload: bytes) -> bool:
        assert payload == b'{"versions":[2,1]}'
        self.hellos.append(row)
        return True

    def poll(self, timeout_s: float = 0.0) -> list[Message]:
        found, self.inbox = self.inbox, []
        return found

    def went_up(self) -> NDArray[np.int64]:
        rows = np.array(sorted(row for row in self._newly if self.up[row]), dtype=np.int64)
        self._newly.clear()
        return rows

    def statistics(self) -> LinkStatistics:
        names = LinkStatistics.__dataclass_fields__
        return LinkStatistics(**{**dict.fromkeys(names, 0), "refused_by_code": {}, "dropped_by_reason": {}})  # type: ignore[arg-type]

    def fileno(self) -> int:
        return self._pipe[0]

    def close(self) -> None:
        self.closed = True

    def release(self) -> None:
        for end in self._pipe:
            os.close(end)

    def samples(self) -> dict[int, list[int]]:
        """Return the numbers that arrived from each site, in the order of arrival."""
        found: dict[int, list[int]] = {row: [] for row in range(SITES)}
        for row, payload in self.sent:
            found[row] += decode(payload)[0]["seq"].tolist()
        return found


class Script:
    """A clock that ticks as it is told; before each tick the test may act, and says how many messages are coming."""

    def __init__(self, before: Callable[[int], int]) -> None:
        self.minutes: list[Minute] = []
        self.replays: set[int] = set()
        self.reports: list[dict[str, int]] = []
        self.accounts: dict[str, Any] = {}
        self._before = before

    def at(self, machine_ns: Any) -> Any:
        return machine_ns, machine_ns

    def now_ns(self) -> int:
        raise AssertionError("a tick says what time it is")

    async def ticks(self, stage: Stage, every_s: float) -> AsyncIterator[Tick]:
        assert (stage, every_s) == (Stage.WORLD, REPORT_S)
        for minute, facts in self.minutes:
            known = {"downlink_sent": self._before(minute), **facts}
            yield Tick(t_ns=START_NS + minute * NS_PER_MINUTE, facts=known, replay=minute in self.replays)

    def report(self, facts: Mapping[str, int]) -> None:
        self.reports.append(dict(facts))

    def account(self, account: Mapping[str, Any]) -> None:
        self.accounts.update(account)


class Network(FaultModel):
    """A network whose faults the test sets by hand, by minute."""

    def __init__(self, fleet: Fleet = FLEET) -> None:
        super().__init__(fleet.site_ids, 1, drop_out_frac=0.0, late_frac=0.0, duplicate_frac=0.0)
        self.sites = len(fleet.site_ids)
        self.offline: dict[int, list[int]] = {}
        self.late: dict[tuple[int, int], int] = {}
        self.twice: set[tuple[int, int]] = set()
        self.cleared = False

    @staticmethod
    def _minute(t_ns: int) -> int:
        return (t_ns - START_NS) // NS_PER_MINUTE

    def online(self, t_ns: int) -> NDArray[np.bool_]:
        online = np.ones(self.sites, dtype=np.bool_)
        if not self.cleared:
            online[self.offline.get(self._minute(t_ns), [])] = False
        return online

    def late_by_ns(self, t_ns: int) -> NDArray[np.int64]:
        by = [0 if self.cleared else self.late.get((self._minute(t_ns), row), 0) for row in range(self.sites)]
        return np.array(by, dtype=np.int64) * NS_PER_MINUTE

    def duplicated(self, t_ns: int) -> NDArray[np.bool_]:
        return np.array([(self._minute(t_ns), row) in self.twice for row in range(self.sites)])

    def clear(self) -> None:
        self.cleared = True


class Stand:
    """Homes, their wires and their clock."""

    def __init__(self, report_steps: int = 1, fleet: Fleet = FLEET) -> None:
        self.wires = Wires(len(devices_of(fleet).names))
        self.network = Network(fleet)
        self.acts: dict[int, Callable[[], None]] = {}
        self.clock = Script(self._before)
        self.world = HomeWorld(fleet, Profiles(fleet, 1), start_ns=START_NS, seed=1)
        self.homes = Homes(
            fleet=fleet,
            world=self.world,
            faults=self.network,
            links=self.wires,  # type: ignore[arg-type]
            clock=self.clock,
            report_steps=np.full(len(fleet.site_ids), report_steps),
        )

    def _before(self, minute: int) -> int:
        self.acts.get(minute, lambda: None)()
        return len(self.wires.inbox)

    def run(self, minutes: list[Minute] | int) -> None:
        """Live through the ticks of the minutes given, or the first so many."""
        self.clock.minutes = (
            [(minute, {}) for minute in range(1, minutes + 1)] if isinstance(minutes, int) else minutes
        )

        async def live() -> None:
            async with asyncio.timeout(20):
                await self.homes.connect(max_rate_per_s=1_000.0)
                await self.homes.follow()

        asyncio.run(live())
        assert self.wires.closed

    def released(self) -> list[int]:
        return [report["samples_released"] for report in self.clock.reports]

    def tell(self, row: int, desired: DesiredState) -> None:
        self.wires.inbox.append(Message(row, "desired", msgspec.json.encode(desired)))

    def durable(self, row: int, seq: int, *, resend: bool = False) -> None:
        self.wires.inbox.append(
            Message(row, "durable", msgspec.json.encode(DurableUpTo(seq=seq, resend=resend)))
        )


@pytest.fixture
def stand() -> Iterator[Stand]:
    stand = Stand()
    yield stand
    stand.wires.release()


def lease(minute: int, battery_w: int, *, version: int = 1, minutes: int = 15) -> DesiredState:
    start_ns = START_NS + minute * NS_PER_MINUTE
    return DesiredState(
        version=version,
        battery_w=battery_w,
        start_ns=start_ns,
        end_ns=start_ns + minutes * NS_PER_MINUTE,
        issuer="control",
        fence=1,
    )


def test_every_site_says_every_minute_once(stand: Stand) -> None:
    stand.run(5)
    assert stand.wires.samples() == {row: [1, 2, 3, 4, 5] for row in range(SITES)}
    assert stand.released() == [SITES * minute for minute in range(1, 6)]
    assert len(stand.wires.sent) == 5 * SITES
    for row, payload in stand.wires.sent:
        records, oldest_seq, _ = decode(payload)
        assert oldest_seq == 1, row
        assert records["ts_ns"][0] == START_NS + records["seq"][0] * NS_PER_MINUTE


def test_reports_of_several_minutes_carry_each_of_them() -> None:
    stand = Stand(report_steps=3)
    stand.run(12)
    stand.wires.release()
    arrived = stand.wires.samples()
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in arrived.values())
    assert all(10 <= len(numbers) <= 12 for numbers in arrived.values())
    assert sum(map(len, arrived.values())) == stand.released()[-1]
    assert {len(decode(payload)[0]) for _, payload in stand.wires.sent[SITES:]} == {3}


def test_cut_off_site_says_everything_when_it_is_back(stand: Stand) -> None:
    stand.network.offline = {minute: [2] for minute in (2, 3, 4)}
    stand.run(6)
    assert stand.wires.samples()[2] == [1, 2, 3, 4, 5, 6]
    assert stand.released() == [7, 13, 19, 25, 35, 42]
    assert stand.homes.statistics().created == 6 * SITES


def test_repeated_message_counts_once(stand: Stand) -> None:
    stand.network.twice = {(2, 0), (2, 5)}
    stand.run(3)
    assert stand.wires.samples()[0] == [1, 2, 2, 3]
    assert stand.released() == [7, 14, 21]
    assert stand.homes.statistics().repeated == 2


def test_late_message_is_released_when_it_is_due(stand: Stand) -> None:
    stand.network.late = {(2, 3): 2}
    stand.run(5)
    assert stand.wires.samples()[3] == [1, 3, 2, 4, 5]
    assert stand.released() == [7, 13, 20, 28, 35]
    assert stand.homes.statistics().late == 1


def test_late_message_waits_for_its_site_to_be_online(stand: Stand) -> None:
    stand.network.late = {(2, 3): 1}
    stand.network.offline = {3: [3], 4: [3]}
    stand.run(5)
    assert sorted(stand.wires.samples()[3]) == [1, 2, 3, 4, 5]
    assert stand.released() == [7, 13, 19, 25, 35]


def test_draining_brings_everything_out(stand: Stand) -> None:
    stand.network.late = {(3, row): 60 for row in range(SITES)}
    stand.network.offline = {minute: [1, 4] for minute in range(2, 99)}
    stand.run([(1, {}), (2, {}), (3, {}), (3, {"draining": 1}), (3, {"draining": 1, "closing": 1})])
    assert stand.released()[-1] == 3 * SITES == stand.clock.accounts["released"]
    assert {row: sorted(numbers) for row, numbers in stand.wires.samples().items()} == {
        row: [1, 2, 3] for row in range(SITES)
    }


def test_draining_releases_reports_that_are_not_yet_due() -> None:
    stand = Stand(report_steps=5)
    stand.run([(1, {}), (2, {}), (3, {}), (3, {"draining": 1, "closing": 1})])
    stand.wires.release()
    assert stand.released()[-1] == 3 * SITES
    assert all(numbers == [1, 2, 3] for numbers in stand.wires.samples().values())


def test_broken_connection_is_followed_by_what_may_be_lost(stand: Stand) -> None:
    def cut() -> None:
        stand.durable(6, 1)
        stand.wires.cut([6], lose=1)
        stand.wires.raise_up([6])

    stand.acts = {4: cut}
    stand.run(5)
    assert sorted(set(stand.wires.samples()[6])) == [1, 2, 3, 4, 5]
    assert decode(stand.wires.lost[0][1])[0]["seq"].tolist() == [3]
    assert stand.released() == [7, 14, 21, 28, 35], "what is said again is not released again"
    assert stand.homes.statistics().resent == 2, "the first is durable"


def test_connection_that_breaks_while_its_site_is_cut_off_loses_nothing(stand: Stand) -> None:
    """The engine dies with a sample in a buffer; when it is back, the site's own network is down."""

    def cut() -> None:
        at = next(n for n, (row, _) in reversed(list(enumerate(stand.wires.sent))) if row == 2)
        stand.wires.lost.append(stand.wires.sent.pop(at))
        stand.wires.cut([2])
        stand.wires.raise_up([2])

    stand.network.offline = {3: [2], 4: [2]}
    stand.acts = {4: cut}
    stand.run(6)
    assert decode(stand.wires.lost[0][1])[0]["seq"].tolist() == [2]
    assert sorted(set(stand.wires.samples()[2])) == [1, 2, 3, 4, 5, 6]


def test_held_message_goes_out_with_what_is_said_again(stand: Stand) -> None:
    stand.network.late = {(2, 5): 60}

    def cut() -> None:
        stand.wires.cut([5])
        stand.wires.raise_up([5])

    stand.acts = {4: cut}
    stand.run(4)
    assert sorted(set(stand.wires.samples()[5])) == [1, 2, 3, 4]
    assert stand.released()[-1] == 4 * SITES


def test_durable_samples_are_forgotten(stand: Stand) -> None:
    stand.acts = {3: lambda: stand.durable(0, 2)}
    stand.run(4)
    (last,) = [payload for row, payload in stand.wires.sent[-SITES:] if row == 0]
    assert decode(last)[1].tolist() == [3]
    assert stand.homes.statistics().durable_received == 1


def test_lease_is_followed_and_reported(stand: Stand) -> None:
    stand.world.stored_kwh[:] = FLEET.nameplate["energy_capacity_kwh"] * 0.8
    stand.acts = {2: lambda: stand.tell(0, lease(1, -2_000, version=9))}
    stand.run(4)
    records = np.concatenate([decode(payload)[0] for row, payload in stand.wires.sent if row == 0])
    assert records["battery_w"].tolist()[1:] == [-2_000] * 3
    assert records["command_version"].tolist() == [0, 9, 9, 9]
    assert records["discharge_wh"][-1] == 100
    figures = stand.homes.statistics()
    assert (figures.desired_received, figures.desired_rejected) == (1, 0)


def test_word_that_cannot_be_used_is_refused_and_counted(stand: Stand) -> None:
    def tell() -> None:
        stand.tell(0, lease(-60, -2_000, minutes=15))
        stand.wires.inbox.append(Message(1, "desired", b'{"\xff": 1}'))
        stand.wires.inbox.append(Message(1, "durable", b"nonsense"))
        stand.wires.inbox.append(Message(1, "pace", b"nonsense"))
        stand.wires.inbox.append(Message(1, "schema", b"nonsense"))

    stand.acts = {2: tell}
    stand.run(3)
    assert stand.homes.statistics().desired_rejected == 2
    assert stand.wires.samples()[1] == [1, 2, 3]


def test_cut_off_site_hears_nothing(stand: Stand) -> None:
    stand.network.offline = {1: [0]}
    stand.acts = {2: lambda: stand.tell(0, lease(1, -2_000))}
    stand.run(3)
    assert stand.homes.statistics().desired_received == 0
    records = np.concatenate([decode(payload)[0] for row, payload in stand.wires.sent if row == 0])
    assert set(records["command_version"].tolist()) == {0}


def test_downlink_on_its_way_is_waited_for(stand: Stand) -> None:
    """The plant says that it sent one; it comes in while the homes wait."""
    asked: list[float] = []
    plain_poll = stand.wires.poll

    def poll(timeout_s: float = 0.0) -> list[Message]:
        asked.append(timeout_s)
        if len(asked) == 40:
            stand.tell(0, lease(0, -2_000, version=5))
        return plain_poll(timeout_s)

    stand.wires.poll = poll  # type: ignore[method-assign]
    stand.run([(1, {"downlink_sent": 1}), (2, {})])
    first = next(decode(payload)[0] for row, payload in stand.wires.sent if row == 0)
    assert first["command_version"][0] == 5
    assert stand.homes.statistics().desired_missed == 0


def test_downlink_that_never_comes_is_taken_for_lost(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.simulate.homes.QUIET_S", 0.02)
    stand.run([(1, {"downlink_sent": 3}), (2, {})])
    assert stand.homes.statistics().desired_missed == 3
    assert stand.released() == [7, 14]


def test_tick_that_comes_again_makes_no_second_sample(stand: Stand) -> None:
    stand.clock.replays = {2}
    stand.run([(1, {}), (2, {}), (2, {}), (3, {})])
    assert all(numbers == sorted(set(numbers)) for numbers in stand.wires.samples().values())


def test_account_of_an_hour_balances(stand: Stand) -> None:
    def command() -> None:
        for row in range(SITES):
            stand.tell(row, lease(1, -1_500 if row % 2 else 1_500, minutes=59))

    stand.acts = {2: command}
    minutes: list[Minute] = [(minute, {}) for minute in range(1, 61)]
    stand.run([*minutes[:-1], (60, {"closing": 1})])
    account = stand.clock.accounts
    assert (account["created"], account["released"], account["lost_by_overflow"]) == (420, 420, 0)
    assert account["residual_wh"] == 0
    assert account["stored_balance_error_kwh"] == pytest.approx(0.0, abs=1e-9)
    assert (account["lease_violations"], account["reserve_violations"], account["limit_violations"]) == (
        0,
        0,
        0,
    )
    assert account["moved_wh"] > 0
    assert account["statistics"]["created"] == 420
    for resource in FLEET.resources:
        rows = FLEET.rows_in(resource.group_id)
        ((at_ns, net_wh, usable_wh),) = account["meters"][resource.resource_id]
        assert at_ns == START_NS + NS_PER_HOUR
        assert net_wh == int((stand.world.charge_wh - stand.world.discharge_wh)[rows].sum())
        assert usable_wh >= 0


def test_telemetry_says_what_the_meters_show(stand: Stand) -> None:
    stand.run(30)
    last = {row: decode(payload)[0][-1] for row, payload in stand.wires.sent[-SITES:]}
    for row in range(SITES):
        for name in ("charge_wh", "discharge_wh", "import_wh", "export_wh"):
            measured = bool(int(last[row]["present"]) & mask_of(name))
            assert measured == (row < SITES - 1 or name in ("charge_wh", "discharge_wh"))
            assert last[row][name] == getattr(stand.world, name)[row] * measured
        assert last[row]["soc_frac"] == pytest.approx(stand.world.soc_frac[row], abs=6e-5)


def test_plant_that_misses_a_sample_hears_everything_from_there_again(stand: Stand) -> None:
    def ask() -> None:
        stand.durable(2, 1, resend=True)

    stand.acts = {5: ask}
    stand.run(5)
    assert stand.wires.samples()[2] == [1, 2, 3, 4, 2, 3, 4, 5]
    assert stand.homes.statistics().asked_again == 1
    assert stand.released() == [7, 14, 21, 28, 35], "what is said again is not released again"


def test_request_for_what_is_missing_waits_for_its_site_to_be_online(stand: Stand) -> None:
    stand.network.offline = {4: [2]}
    stand.acts = {4: lambda: stand.durable(2, 1, resend=True)}
    stand.run(6)
    assert stand.wires.samples()[2] == [1, 2, 3, 2, 3, 4, 5, 6]


def test_hello_is_said_once_and_again_only_to_a_plant_that_refused(stand: Stand) -> None:
    def again() -> None:
        refusal = msgspec.json.encode(refuse_versions([2]))
        stand.wires.inbox.append(Message(3, "schema", refusal))
        stand.wires.inbox.append(
            Message(4, "schema", msgspec.json.encode(answer_hello(b'{"versions": [2, 1]}')))
        )

    def cut() -> None:
        stand.wires.cut(list(range(SITES)))
        stand.wires.raise_up(range(SITES))

    stand.acts = {2: again, 3: cut}
    stand.run(4)
    assert stand.wires.hellos == [*range(SITES), 3]
    assert stand.homes.statistics().hellos == SITES + 1
    assert stand.homes.statistics().versions_refused == 1


def test_plant_that_takes_only_the_first_version_is_spoken_to_in_it(stand: Stand) -> None:
    """What was said in the newer version was not taken, so it is said again."""
    answer = answer_hello(b'{"versions": [2, 1]}')
    old = msgspec.structs.replace(
        answer, version=1, accepts=msgspec.structs.replace(answer.accepts, versions=(1,))
    )
    stand.acts = {3: lambda: stand.wires.inbox.append(Message(1, "schema", msgspec.json.encode(old)))}
    stand.run(4)
    said = [(payload[2], decode(payload)[0]["seq"].tolist()) for row, payload in stand.wires.sent if row == 1]
    assert said == [(2, [1]), (2, [2]), (1, [1, 2]), (1, [3]), (1, [4])]
    assert {payload[2] for row, payload in stand.wires.sent if row != 1} == {2}


def slow_down(stand: Stand, minute: int, *, every_min: int, minutes: int) -> None:
    issued_ns = START_NS + minute * NS_PER_MINUTE
    word = Pace(every_s=60.0 * every_min, until_ns=issued_ns + minutes * NS_PER_MINUTE, issued_ns=issued_ns)
    for device in range(len(stand.wires.up)):
        stand.wires.inbox.append(Message(device, "pace", encode_pace(word)))


def test_slowed_sites_gather_their_samples_and_resume_by_themselves(stand: Stand) -> None:
    stand.acts = {11: lambda: slow_down(stand, 10, every_min=5, minutes=20)}
    stand.run(45)
    assert stand.wires.samples() == {row: list(range(1, 46)) for row in range(SITES)}, "nothing is lost"
    for row in range(SITES):
        sizes = [len(decode(payload)[0]) for sender, payload in stand.wires.sent if sender == row]
        assert sizes[:10] == [1] * 10 == sizes[-10:]
        assert max(sizes) == 5 and sizes.count(5) >= 3, sizes
    resumed = {
        max(
            int(decode(payload)[0]["seq"][-1])
            for r, payload in stand.wires.sent
            if r == row and len(decode(payload)[0]) > 1
        )
        for row in range(SITES)
    }
    assert resumed <= set(range(26, 37)) and len(resumed) > 1, "not all of them at once"
    assert stand.homes.statistics().slowed == 0


def test_command_is_followed_and_draining_goes_on_however_slow_the_pace(stand: Stand) -> None:
    stand.world.stored_kwh[:] = FLEET.nameplate["energy_capacity_kwh"] * 0.8

    def act() -> None:
        slow_down(stand, 1, every_min=60, minutes=600)
        stand.tell(0, lease(1, -2_000, version=9))

    stand.acts = {2: act}
    stand.run([*((minute, {}) for minute in range(1, 7)), (6, {"draining": 1, "closing": 1})])
    assert stand.world.discharge_wh[0] > 0
    records = np.concatenate([decode(payload)[0] for row, payload in stand.wires.sent if row == 0])
    assert records["command_version"].tolist() == [0, 9, 9, 9, 9, 9]
    assert stand.released()[-1] == 6 * SITES
    assert len([row for row, _ in stand.wires.sent if row == 0]) < 6


MIXED = plan_fleet(120, 5, ev_sites_frac=0.15, meter_sites_frac=0.2, gateway_frac=0.5)


def test_sites_of_every_type_send_what_they_have() -> None:
    stand = Stand(fleet=MIXED)
    stand.run(30)
    stand.wires.release()
    devices = devices_of(MIXED)
    assert 0 < len(MIXED.gateway_ids) == len(devices.gateways)
    row_of = {
        (device, unit): row
        for row, (device, unit) in enumerate(
            zip(devices.device_of.tolist(), MIXED.gateway_unit.tolist(), strict=True)
        )
    }
    latest: dict[int, Any] = {}
    arrived: dict[int, list[int]] = {row: [] for row in range(len(MIXED.site_ids))}
    masks = present_of(MIXED)
    for device, payload in stand.wires.sent:
        records, _, units = decode(payload)
        for record, unit in zip(records, units.tolist(), strict=True):
            row = row_of[device, unit]
            assert record["present"] == masks[row]
            arrived[row].append(int(record["seq"]))
            latest[row] = record
    assert set(map(tuple, arrived.values())) == {tuple(range(1, 31))}
    messages = sum(device in devices.gateways for device, _ in stand.wires.sent)
    behind = int((MIXED.gateway_of >= 0).sum())
    assert messages < 30 * behind / 4, "a gateway says much at once"
    for row, kind in enumerate(MIXED.device_type.tolist()):
        record = latest[row]
        if kind == DeviceType.METER:
            assert record["import_wh"] == stand.world.import_wh[row] > 0 == stand.world.export_wh[row]
            assert (record["battery_w"], record["solar_w"], record["ev_w"]) == (0, 0, 0)
        elif kind == DeviceType.EV_CHARGER:
            assert record["import_wh"] == stand.world.ev_wh[row] == stand.world.import_wh[row]
            assert record["load_w"] == 0 == stand.world.load_w[row]
        else:
            assert record["charge_wh"] == stand.world.charge_wh[row]


def test_word_for_a_site_behind_a_gateway_reaches_it() -> None:
    stand = Stand(fleet=MIXED)
    row = int(np.flatnonzero((MIXED.gateway_of >= 0) & (MIXED.device_type == DeviceType.HOME))[3])
    device, unit = int(devices_of(MIXED).device_of[row]), int(MIXED.gateway_unit[row])
    stand.world.stored_kwh[row] = MIXED.nameplate["energy_capacity_kwh"][row] * 0.8

    def tell() -> None:
        desired = msgspec.json.encode(lease(1, -2_000, version=9))
        stand.wires.inbox.append(Message(device, "desired", desired, unit))
        stand.wires.inbox.append(Message(device, "durable", b'{"seq": 1, "resend": true}', unit))
        stand.wires.inbox.append(Message(device, "desired", desired, 60_000))

    stand.acts = {3: tell}
    stand.run(4)
    stand.wires.release()
    assert np.flatnonzero(stand.world.discharge_wh).tolist().count(row) == 1
    assert stand.homes.statistics().desired_received == 1
    mine = [
        records["seq"][units == unit].tolist()
        for sender, payload in stand.wires.sent
        if sender == device
        for records, _, units in [decode(payload)]
        if (units == unit).any()
    ]
    assert sorted(seq for numbers in mine for seq in numbers) == [1, 2, 2, 3, 4]


def test_gateways_site_that_is_cut_off_catches_up_beside_its_neighbours() -> None:
    stand = Stand(fleet=MIXED)
    row = int(np.flatnonzero(MIXED.gateway_of >= 0)[7])
    device, unit = int(devices_of(MIXED).device_of[row]), int(MIXED.gateway_unit[row])
    stand.network.offline = {minute: [row] for minute in (2, 3)}
    stand.network.late = {(4, int(np.flatnonzero(MIXED.gateway_of >= 0)[0])): 60}
    stand.run([*((minute, {}) for minute in range(1, 7)), (6, {"draining": 1, "closing": 1})])
    stand.wires.release()
    mine = [
        int(seq)
        for sender, payload in stand.wires.sent
        if sender == device
        for records, _, units in [decode(payload)]
        for seq in records["seq"][units == unit]
    ]
    assert sorted(mine) == [1, 2, 3, 4, 5, 6]
    assert stand.released()[-1] == 6 * len(MIXED.site_ids)
