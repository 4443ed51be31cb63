"""Random plants against many sites: two issuers at once, repeats, reorderings, skewed clocks, forgeries, owners, restarts.

Every frame goes through a device's own door (signature, decoding, agent); the physics of the simulated homes does what the
agents decide, and the referee, which shares no code with them, judges every interval. Commands are counted by the piece.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from nacl.signing import SigningKey
from numpy.typing import NDArray

from shoal.domain.desired import DesiredState
from shoal.domain.errors import WireFormatError
from shoal.domain.orders import DroopArming, Envelope, PriceSeries, ScheduledEvent, SiteOrders
from shoal.domain.outcome import Rejected
from shoal.edge.agent import AgentColumns, Mode, decide, decode_desired, next_change_ns, receive
from shoal.edge.agent_orders import decode_orders, receive_orders
from shoal.edge.agent_owner import events_of, opt_in, opt_out, set_independent, set_off, set_reserve
from shoal.edge.audit import Referee
from shoal.edge.signed import ForgedError, Issuer, Verifier, make_certificate
from shoal.simulate.fleet import plan_fleet
from shoal.simulate.physics import STANDBY_FRAC_PER_H, HomeWorld
from shoal.simulate.profiles import Profiles

S = 1_000_000_000
T0 = 1_625_097_600 * S
GRID_S = 20
TENANT = "fuzz"
ROOT = bytes(range(32))
EVENT_NAMES = [f"event-{n}" for n in range(12)]
KINDS = ("power", "charge", "hold", "local")


def public(seed: bytes) -> bytes:
    return bytes(SigningKey(seed).verify_key)


def issuer(seed: bytes, *, root: bytes = ROOT, tenant: str = TENANT) -> Issuer:
    certificate = make_certificate(
        root,
        issuer="plant",
        tenant=tenant,
        public_key=public(seed),
        not_before_ns=0,
        not_after_ns=2**62,
        kinds=("desired", "orders"),
    )
    return Issuer(seed, certificate)


@dataclass
class Book:
    """What one issuer believes: it counts versions for itself, so two of them collide."""

    issuer: Issuer
    fence: int
    skew_s: int
    version: NDArray[np.int64]
    orders_version: NDArray[np.int64]


@dataclass
class Fuzz:
    """A fleet under fire; `run` sends so many commands."""

    sites: int
    seed: int
    act: Callable[[NDArray[np.int64]], NDArray[np.int64]] = lambda decided_w: decided_w
    """What the batteries make of a decision."""
    agents: AgentColumns = field(init=False)
    referee: Referee = field(init=False)
    count: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        fleet = plan_fleet(self.sites, self.seed)
        self.names = [str(site) for site in fleet.site_ids]
        self.fleet = fleet
        count = len(self.names)
        self.sites = count
        # A third each: no limit, a tight one, none for export.
        import_w = np.where(self.rng.random(count) < 0.3, self.rng.integers(1_000, 9_000, count), 10**9)
        export_w = np.where(self.rng.random(count) < 0.4, self.rng.integers(0, 4_000, count), 10**9)
        self.limits: dict[str, Any] = {"import_limit_w": import_w, "export_limit_w": export_w}
        self.agents = self._columns()
        standby_w = float((fleet.nameplate["energy_capacity_kwh"] * STANDBY_FRAC_PER_H).max() * 1e3)
        self.referee = Referee(fleet.nameplate, standby_w=standby_w, **self.limits)
        self.world = HomeWorld(fleet, Profiles(fleet, self.seed), start_ns=T0, seed=self.seed)
        self.begun_kwh = self.world.stored_kwh.copy()
        self.gone_kwh = np.zeros(count)
        self.verifier = Verifier(public(ROOT), TENANT)
        seeds = [bytes([n]) * 32 for n in (1, 2)]
        self.books = [
            Book(issuer(seed), fence, skew_s, np.zeros(count, np.int64), np.zeros(count, np.int64))
            for seed, fence, skew_s in zip(seeds, (1, 2), (-40, 20), strict=True)
        ]
        self.rogues = [issuer(bytes(32), root=bytes(32)), issuer(bytes(32), tenant="other")]
        self.past: list[tuple[int, str, bytes]] = []
        self.frequency_hz = np.full(count, 50.0)
        self.plan_w = np.full(count, np.nan)

    def _columns(self) -> AgentColumns:
        return AgentColumns(self.fleet.nameplate, site_ids=self.names, **self.limits)

    def run(self, commands: int) -> None:
        """Send commands, at first in an orderly split brain, then with everything else as well."""
        while self.count["commands"] < commands:
            self._send(min(self.sites, commands - self.count["commands"]))
            self._owners()
            if self.rng.random() < 0.05:
                again = self._columns()
                again.restore(self.agents.state())
                self.agents = again
                self.count["restarts"] += 1
            self._live(int(self.rng.integers(1, 6)) * GRID_S)

    def balance_kwh(self) -> float:
        """Return by how much the books of the worst site are out, in kWh."""
        world, plate = self.world, self.fleet.nameplate
        meters = (
            *(world.import_wh, -world.export_wh, -world.load_wh, -world.ev_wh, world.solar_wh),
            *(-world.charge_wh, world.discharge_wh),
        )
        assert not np.any(sum(meters)), "the meters of a site must balance to the last watt-hour"
        rest_kwh = (world.charge_rest_wus * plate["charge_efficiency_frac"]) / 3.6e12  # type: ignore[attr-defined]
        rest_kwh -= world.discharge_rest_wus / plate["discharge_efficiency_frac"] / 3.6e12  # type: ignore[attr-defined]
        into_kwh = world.charge_wh / 1e3 * plate["charge_efficiency_frac"] + rest_kwh
        out_kwh = world.discharge_wh / 1e3 / plate["discharge_efficiency_frac"]
        error_kwh = world.stored_kwh - self.begun_kwh - into_kwh + out_kwh + world.standby_kwh
        return float(np.abs(error_kwh).max())

    def _send(self, commands: int) -> None:
        """Make, sign, spoil, mix up and deliver a step's messages."""
        messages: list[tuple[int, str, bytes, bytes]] = []
        for book in self.books:
            rows = self.rng.integers(0, self.sites, commands // 2 + 1).tolist()
            made = [(row, *self._made(book, row)) for row in rows]
            frames = book.issuer.sign_batch([(self.names[row], kind, payload) for row, kind, payload in made])
            messages += [(*one, frame) for one, frame in zip(made, frames, strict=True)]
        self.rng.shuffle(messages)
        for row, kind, payload, frame in messages[:commands]:
            self._deliver(row, kind, payload, frame)
            pick = self.rng.random()
            if pick < 0.1:
                self._forge(row, kind, payload, frame)
            if pick > 0.8 and self.past:
                # What was sent before comes again, late and in any order.
                self._deliver(*self.past[int(self.rng.integers(len(self.past)))])
            self.past.append((row, kind, payload, frame))  # type: ignore[arg-type]
        self.past = self.past[-4 * self.sites :]

    def _deliver(self, row: int, kind: str, payload: bytes = b"", frame: bytes = b"") -> None:
        """Let a device take a frame that is rightly its own."""
        now_ns = self.world.now_ns
        self.count["commands"] += 1
        opened = self.verifier.open(self.names[row], kind, frame, now_ns)
        assert opened == payload
        try:
            if kind == "desired":
                granted = self.referee.heard(row, payload, received_ns=now_ns)
                outcome = receive(self.agents, row, decode_desired(opened), now_ns)
            else:
                granted = self.referee.heard_orders(row, payload, received_ns=now_ns)
                outcome = receive_orders(self.agents, row, decode_orders(opened), now_ns)
        except WireFormatError:
            assert not granted
            self.count["wire_format"] += 1
            return
        assert granted != isinstance(outcome, Rejected), (outcome, payload)
        self.count[outcome.reason if isinstance(outcome, Rejected) else f"{kind} taken"] += 1

    def _forge(self, row: int, kind: str, payload: bytes, frame: bytes) -> None:
        """Let a device refuse what is not: nothing of it reaches the agent."""
        self.count["commands"] += 1
        site, asked = self.names[row], kind
        pick = int(self.rng.integers(6))
        if pick == 0:
            bent = bytearray(frame)
            bent[int(self.rng.integers(len(bent)))] ^= 1 << int(self.rng.integers(8))
            frame = bytes(bent)
        elif pick == 1:
            site = self.names[(row + 1) % self.sites]
        elif pick == 2:
            asked = "orders" if kind == "desired" else "desired"
        elif pick == 3:
            frame = frame[: int(self.rng.integers(len(frame)))]
        elif pick == 4:
            frame = payload
        else:
            frame = self.rogues[row % 2].sign_batch([(site, kind, payload)])[0]
        try:
            self.verifier.open(site, asked, frame, self.world.now_ns)
        except ForgedError as error:
            self.count[f"forged: {error.reason}"] += 1
            return
        raise AssertionError("a forged frame was opened")

    def _made(self, book: Book, row: int) -> tuple[str, bytes]:
        """Return a command by an issuer whose clock is off, in its own count of versions."""
        rng = self.rng
        now_ns = self.world.now_ns + book.skew_s * S
        kind = "desired" if rng.random() < 0.6 else "orders"
        counted = book.version if kind == "desired" else book.orders_version
        latest = self.agents.latest_version if kind == "desired" else self.agents.orders_version
        if rng.random() < 0.5:
            counted[row] = latest[row]  # it reads back what the device follows
        counted[row] += 1 if rng.random() < 0.9 else int(rng.integers(0, 3)) - 1
        newest = max(other.fence for other in self.books)
        if rng.random() < 0.5 or (rng.random() < 0.02 and newest < 2**40):
            book.fence = newest + int(rng.random() < 0.01)
        common = {"version": int(counted[row]), "issuer": "plant", "fence": book.fence}
        if rng.random() < 0.01:
            # No larger fence than any issuer has: it would shut both out for good.
            if rng.random() < 0.5:
                common["fence"] = (-1, 0, 2**63)[int(rng.integers(3))]
            else:
                common["version"] = int(rng.choice([-1, 0, 2**32]))
        if kind == "desired":
            start_ns, end_ns = self._span(now_ns)
            state = DesiredState(
                battery_w=self._watts(),
                start_ns=start_ns,
                end_ns=end_ns,
                ramp_s=self._length(),
                **common,  # type: ignore[arg-type]
            )
            return kind, msgspec.json.encode(state)
        return kind, self._document(now_ns, common)

    def _document(self, now_ns: int, common: dict[str, Any]) -> bytes:
        rng = self.rng
        names = rng.permutation(EVENT_NAMES)[: int(rng.integers(0, 4)) if rng.random() < 0.98 else 10]
        events = []
        for name in names.tolist():
            start_ns, end_ns = self._span(now_ns)
            charge = KINDS[int(rng.integers(4))]
            power_w = self._watts()
            events.append(
                ScheduledEvent(
                    event_id=name if rng.random() < 0.99 else "",
                    program="peak",
                    kind=charge,  # type: ignore[arg-type]
                    start_ns=start_ns,
                    end_ns=end_ns,
                    battery_w=abs(power_w) if charge == "charge" and rng.random() < 0.98 else power_w,
                    soc_frac=float(rng.random()),
                    solar_only=bool(rng.random() < 0.4),
                    ramp_s=self._length(),
                    spread_s=self._length(),
                    may_opt_out=bool(rng.random() < 0.8),
                )
            )
        envelopes = []
        for _ in range(int(rng.integers(0, 3))):
            start_ns, end_ns = self._span(now_ns)
            limits_w = rng.integers(0, 9_000, 2).tolist()
            envelopes.append(
                Envelope(
                    start_ns=start_ns, end_ns=end_ns, import_limit_w=limits_w[0], export_limit_w=limits_w[1]
                )
            )
        droop = prices = None
        if rng.random() < 0.4:
            start_ns, end_ns = self._span(now_ns)
            deadband_hz, full_hz = sorted((rng.random(2) * 0.5).tolist())
            droop = DroopArming(
                start_ns=start_ns,
                end_ns=end_ns,
                reference_hz=50.0,
                deadband_hz=deadband_hz,
                full_deviation_hz=full_hz,
                up_w=int(rng.integers(0, 8_000)),
                down_w=int(rng.integers(0, 8_000)),
            )
        if rng.random() < 0.3:
            start_ns, _ = self._span(now_ns)
            series = tuple(rng.random(int(rng.integers(1, 5))).tolist())
            prices = PriceSeries(
                start_ns=max(start_ns, 0), step_s=GRID_S * 10, import_per_kwh=series, export_per_kwh=series
            )
        orders = SiteOrders(
            issued_ns=now_ns,
            halted=bool(rng.random() < 0.05),
            events=tuple(events),
            envelopes=tuple(envelopes),
            droop=droop,
            prices=prices,
            **common,
        )
        payload = msgspec.json.encode(orders)
        return payload if rng.random() < 0.995 else payload[:-5]

    def _span(self, now_ns: int) -> tuple[int, int]:
        """Return a start around now and an end, mostly after it, on a grid so that many sites change together."""
        rng = self.rng
        start_ns = now_ns + int(rng.integers(-15, 20)) * GRID_S * S if rng.random() < 0.7 else now_ns
        end_ns = start_ns + int(rng.integers(1, 60)) * GRID_S * S
        if rng.random() < 0.01:
            start_ns, end_ns = end_ns, start_ns
        elif rng.random() < 0.01:
            end_ns = 2**63 - 1
        return start_ns, end_ns

    def _watts(self) -> int:
        pick = self.rng.random()
        return (
            int(self.rng.integers(-9_000, 9_000))
            if pick < 0.98
            else int(self.rng.choice([10**12, -(10**12), 0]))
        )

    def _length(self) -> float:
        pick = self.rng.random()
        if pick < 0.5:
            return 0.0
        return float(self.rng.integers(1, 300)) if pick < 0.995 else float(self.rng.choice([-1.0, 1e9]))

    def _owners(self) -> None:
        """Let some owners change their mind."""
        rng, now_ns = self.rng, self.world.now_ns
        for row in rng.integers(0, self.sites, max(1, self.sites // 25)).tolist():
            pick = rng.random()
            views = events_of(self.agents, row, now_ns)
            name = EVENT_NAMES[int(rng.integers(len(EVENT_NAMES)))]
            if views and rng.random() < 0.8:
                name = views[int(rng.integers(len(views)))].event_id
            if pick < 0.4:
                outcome = opt_out(self.agents, row, name, now_ns)
                self.referee.owner_left(row, name, now_ns=now_ns)
                self.count["left" if not isinstance(outcome, Rejected) else "not left"] += 1
            elif pick < 0.6:
                opt_in(self.agents, row, name, now_ns)
                self.referee.owner_left(row, name, now_ns=now_ns, back=True)
            elif pick < 0.9:
                reserve_frac = float(rng.random())
                set_reserve(self.agents, row, reserve_frac)
                self.referee.owner_reserve(row, reserve_frac)
                self.count["reserves set"] += 1
            else:
                off, alone = bool(rng.random() < 0.15), bool(rng.random() < 0.15)
                set_off(self.agents, row, off)
                set_independent(self.agents, row, alone)
                self.referee.owner_switched(row, off=off, independent=alone, now_ns=now_ns)

    def _live(self, step_s: int) -> None:
        """Let the world go on; what the sites measure and plan changes at random."""
        rng, world = self.rng, self.world
        self.frequency_hz = np.where(
            rng.random(self.sites) < 0.1, np.nan, 50.0 + rng.normal(0.0, 0.15, self.sites)
        )
        self.plan_w = np.where(rng.random(self.sites) < 0.5, np.nan, rng.normal(0.0, 3_000.0, self.sites))
        unreadable = rng.random(self.sites) < 0.005
        until_ns = world.now_ns + step_s * S
        while world.now_ns < until_ns:
            now_ns = world.now_ns
            end_ns = min(until_ns, next_change_ns(self.agents, now_ns))
            seen = {"load_w": world.load_w, "solar_w": world.solar_w, "ev_w": world.ev_w}
            before_kwh = world.stored_kwh.copy()
            careful_s = (end_ns - now_ns) / S * float(rng.choice([1.0, 1.0, 3.0]))
            measured: dict[str, Any] = {"frequency_hz": self.frequency_hz, "plan_w": self.plan_w, **seen}
            decision = decide(
                self.agents,
                now_ns=now_ns,
                stored_kwh=np.where(unreadable, np.nan, before_kwh),
                horizon_s=careful_s,
                hold_s=(end_ns - now_ns) / S,
                **measured,
            )
            done_w = world.advance(end_ns, self.act(decision.battery_w))
            self.referee.observe(
                start_ns=now_ns,
                end_ns=end_ns,
                battery_w=done_w,
                stored_start_kwh=before_kwh,
                stored_end_kwh=world.stored_kwh,
                horizon_s=careful_s,
                unreadable=unreadable,
                **measured,
            )
            for mode in Mode:
                self.count[f"site-intervals {mode.name.lower()}"] += int(
                    np.count_nonzero(decision.mode == mode)
                )
