"""Regulation as a service: a market's signal in, one broadcast a tick out, readings of the homes' meters back.

It acts when a signal comes, not when its own clock ticks: every tenth of a second of delay is seen in the score. Only on a
clock that is conducted, which stands still between its ticks, does it wait for what is on its way and act with the tick. The
clock sends the armings ahead of their time, again to who has not taken theirs, and takes the homes back to their base when the
signal stops. All that decides is in `shoal.services`; here is the wire.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
import numpy as np
from nats.aio.client import Client
from nats.aio.msg import Msg
from numpy.typing import NDArray

from shoal.domain.clock import Clock, Stage, Tick
from shoal.domain.errors import InvalidInputError, WireFormatError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.edge.regulated import ARMING, BROADCAST
from shoal.edge.signed import Issuer
from shoal.fabric.subjects import (
    READING_ALL,
    READING_BEHIND_ALL,
    arming_subject,
    broadcast_subject,
    downlink_name_of_reading_subject,
    signal_subject,
)
from shoal.services import regulation
from shoal.services.regulation import FollowColumns, FollowRules, FollowState, MeterReports
from shoal.services.regulation_device import RegulationArming, RegulationReading
from shoal.services.regulation_shares import RegulationAbility, RegulationShares, recentring_w, share_out

_AT_A_TIME: Final = 50
_IN_A_THREAD: Final = 2_000
"""So many armings take longer to sign than a broadcast may wait."""
WATCHED_W: Final = 1
"""For so little a home is armed that something keeps from following, so that it says when nothing does any more."""
BARRED_NS: Final = 30 * NS_PER_S
"""So long a home counts as kept after it has said so."""
_NS_PER_MS: Final = 1_000_000
RETRY_NS: Final = 10 * NS_PER_S
QUIET_S: Final = 1.0
"""Wall time without anything coming in after which messages of a conducted step are taken for lost."""
STALE_TICKS: Final = 3
"""A signal so many ticks old is none: the homes go back to their base."""


class MarketSignal(msgspec.Struct, frozen=True, kw_only=True):
    """A market's signal: -1 to 1 of the assigned capability, above 0 for more output; `t_ns` says when it was made."""

    t_ns: int
    value_frac: float


_SIGNAL: Final = msgspec.json.Decoder(MarketSignal)
_READING: Final = msgspec.json.Decoder(RegulationReading)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegulationOptions:
    """What is offered and how it is armed.

    Attributes:
        offer_w: Capability assigned, the same both ways.
        margin_frac: Armed beyond the offer.
        target_frac: Usable energy that the base power brings the fleet back to.
        arm_ns: Length of an arming.
        ahead_ns: How long before its start it is sent.
        hold_ns: How long devices follow a broadcast without another.
        rules: How the signal is followed.
    """

    offer_w: int
    margin_frac: float = 0.3
    target_frac: float = 0.5
    arm_ns: int = 5 * NS_PER_MINUTE
    ahead_ns: int = NS_PER_MINUTE
    hold_ns: int = 10 * NS_PER_S
    rules: FollowRules = field(default_factory=FollowRules)

    def __post_init__(self) -> None:
        if self.offer_w < 0 or not 0 < self.ahead_ns < self.arm_ns or self.hold_ns < self.rules.tick_ns:
            raise InvalidInputError(
                field="offer_w, ahead_ns, arm_ns, hold_ns",
                value=(self.offer_w, self.ahead_ns, self.arm_ns, self.hold_ns),
                fix="give an offer of at least 0, less ahead than an arming is long, and hold for a tick or more",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegulationStatistics:
    """Counters since the start, and how the follower stands.

    Attributes:
        signals: Signals followed.
        refused: Messages that could not be used: unreadable, too old, of an unknown site.
        broadcasts: Broadcasts sent.
        armings: Documents sent.
        readings: Readings taken.
        silences: How often the signal stopped.
        left: Homes that were taken out while they were armed.
        barred: Homes that something keeps from following now.
        state: After the latest broadcast; None before the first.
    """

    signals: int
    refused: int
    broadcasts: int
    armings: int
    readings: int
    silences: int
    left: int
    barred: int
    state: FollowState | None


class RegulationService:
    """Follows the signal of one resource.

    Args:
        client: A connection with the right to the subjects above.
        clock: The plant's clock.
        resource_id: Whose signal.
        site_ids: The homes that take part, in the order of `ability`.
        ability: What they can do as the twins know it; readings take the place of its stored energy as they come.
        options: What is offered.
        names: Under which name each is reached (see `shoal.fabric.subjects.downlink_name`); its own when left out.
        issuer: Signs; None sends plain JSON.
        conducted: Whether the clock's ticks say what is on its way, and the service acts at them and at no other time.
        each_minute: Called at every minute's tick of a conducted clock before the service acts.
    """

    def __init__(
        self,
        *,
        client: Client,
        clock: Clock,
        resource_id: str,
        site_ids: Sequence[str],
        ability: RegulationAbility,
        options: RegulationOptions,
        names: Sequence[str] | None = None,
        issuer: Issuer | None = None,
        conducted: bool = False,
        each_minute: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        self._client, self._clock, self._resource_id = client, clock, resource_id
        self._site_ids, self._ability, self._options = tuple(site_ids), ability, options
        self._names = self._site_ids if names is None else tuple(names)
        self._issuer = issuer
        self._row_of: Mapping[str, int] = {name: row for row, name in enumerate(self._names)}
        self._may = np.ones(len(self._site_ids), dtype=np.bool_)
        self._barred_ns = np.zeros(len(self._site_ids), dtype=np.int64)
        self._columns = FollowColumns(
            len(self._site_ids),
            options.rules,
            energy_floor_kwh=ability.floor_kwh,
            energy_ceiling_kwh=ability.ceiling_kwh,
        )
        self._columns.stored_kwh[:] = ability.stored_kwh
        self._readings: dict[int, RegulationReading] = {}
        self._latest: MarketSignal | None = None
        self._silent = False
        self._coming: tuple[RegulationShares, int, int] | None = None  # shares, version, start
        self._sent_ns = self._made_ns = 0
        self._known = 0
        self._arm_again = False
        self._base_w, self._base_hour = 0, -1
        self._count: Counter[str] = Counter()
        self._state: FollowState | None = None
        self._conducted, self._each_minute = conducted, each_minute
        self._waiting: list[bytes] = []
        self._heard: Counter[str] = Counter()
        self._told: Counter[str] = Counter()

    async def run(self) -> None:
        """Follow the signal until the clock stops."""
        handlers: dict[str, Callable[[Msg], Awaitable[None]]] = {
            signal_subject(self._resource_id): self._take_signal,
            READING_ALL: self._take_reading,
            READING_BEHIND_ALL: self._take_reading,
        }
        subscriptions = [
            await self._client.subscribe(subject, cb=handler) for subject, handler in handlers.items()
        ]
        await self._client.flush()
        try:
            async for tick in self._clock.ticks(Stage.ACT, self._options.rules.tick_ns / NS_PER_S):
                if self._conducted:
                    await self._step(tick)
                else:
                    await self.keep(tick.t_ns)
        finally:
            for subscription in subscriptions:
                await subscription.unsubscribe()

    async def _step(self, tick: Tick) -> None:
        """Act with a tick of a conducted clock: on the signal and the readings of the same step, once they are here."""
        for name in ("signals_sent", "readings_sent"):
            await self._wait_for(name, tick.facts.get(name, 0))
        if tick.facts.get("step_s", 0) * NS_PER_S >= self._options.arm_ns:
            return  # nobody can follow a signal in steps as long as that
        if self._each_minute is not None and tick.t_ns % NS_PER_MINUTE == 0:
            await self._each_minute(tick.t_ns)
        waiting, self._waiting = self._waiting, []
        await self.keep(tick.t_ns)
        for data in waiting:
            await self._follow_signal(data, tick.t_ns)
        await self._client.flush()
        for name in ("armings", "broadcasts"):
            self._clock.report({f"{name}_sent": self._count[name] - self._told[name]})
            self._told[name] = self._count[name]

    async def _wait_for(self, name: str, sent: int) -> None:
        """Wait until so many messages of a kind have come, or no more do."""
        loop = asyncio.get_running_loop()
        seen, since_s = self._heard[name], loop.time()
        while self._heard[name] < sent:
            await asyncio.sleep(0)
            if self._heard[name] != seen:
                seen, since_s = self._heard[name], loop.time()
            elif loop.time() - since_s > QUIET_S:
                self._count["missed"] += sent - self._heard[name]
                self._heard[name] = sent

    async def keep(self, now_ns: int) -> None:
        """Do what the clock asks for: begin an arming, send the next one ahead, notice that the signal has stopped."""
        options = self._options
        start_ns = now_ns // options.arm_ns * options.arm_ns
        self._begin(now_ns)
        late = self._columns.version == 0 and self._coming is None
        late |= self._arm_again and self._next_start_ns() <= now_ns
        if late or (
            now_ns + options.ahead_ns >= start_ns + options.arm_ns and self._next_start_ns() <= start_ns
        ):
            await self._send_next(start_ns if late else start_ns + options.arm_ns, now_ns)
        elif now_ns - self._sent_ns >= RETRY_NS:
            await self._send_again(now_ns)
        signal = self._latest
        if signal is not None and now_ns - signal.t_ns > STALE_TICKS * options.rules.tick_ns:
            self._count["silences"] += not self._silent
            self._silent = True
            await self._act(now_ns, 0.0)

    async def allow(self, may: NDArray[np.bool_], now_ns: int) -> None:
        """Take out at once who may take part no more; who may again is armed with the next arming.

        Args:
            may: Who may take part (N).
            now_ns: The present instant.
        """
        gone = self._may & ~may
        self._may = may.copy()
        if not gone.any():
            return
        armed = gone & _is_armed(self._columns.shares)
        self._columns.shares = _without(self._columns.shares, gone)
        until_ns = self._columns.armed_ns + self._options.arm_ns
        if self._coming is not None:
            shares, version, start_ns = self._coming
            armed |= gone & _is_armed(shares)
            self._coming = _without(shares, gone), version, start_ns
            until_ns = start_ns + self._options.arm_ns
        self._count["left"] += int(armed.sum())
        if until_ns > now_ns:
            nothing = _without(self._columns.shares, np.ones(len(may), dtype=np.bool_))
            version = max(now_ns // _NS_PER_MS, self._columns.version + 1)
            await self._send(np.flatnonzero(armed).tolist(), nothing, version, now_ns, until_ns)

    def renew(self, ability: RegulationAbility, now_ns: int) -> None:
        """Take what the twins know now: limits and reserves of all, and the energy of homes that say nothing themselves."""
        self._ability = ability
        columns = self._columns
        columns.floor_kwh[:], columns.ceiling_kwh[:] = ability.floor_kwh, ability.ceiling_kwh
        quiet = now_ns - columns.heard_ns > self._options.rules.silent_ns
        columns.stored_kwh[quiet] = ability.stored_kwh[quiet]
        # what is short need not stay so until the next arming when more homes are known now
        self._arm_again = any(self.missing_w()) and int(np.isfinite(columns.stored_kwh).sum()) > self._known

    async def _take_signal(self, message: Msg) -> None:
        self._heard["signals_sent"] += 1
        if self._conducted:
            self._waiting.append(message.data)
        else:
            await self._follow_signal(message.data, self._clock.now_ns())

    async def _follow_signal(self, data: bytes, now_ns: int) -> None:
        try:
            signal = _SIGNAL.decode(data)
        except msgspec.DecodeError:
            self._count["refused"] += 1
            return
        tick_ns = self._options.rules.tick_ns
        newer = self._latest is None or signal.t_ns > self._latest.t_ns
        current = -tick_ns <= now_ns - signal.t_ns <= STALE_TICKS * tick_ns
        if not (newer and current and math.isfinite(signal.value_frac)):
            self._count["refused"] += 1
            return
        self._latest, self._silent = signal, False
        self._count["signals"] += 1
        value_frac = min(max(signal.value_frac, -1.0), 1.0)
        await self._act(now_ns, -value_frac * self._options.offer_w)

    async def _take_reading(self, message: Msg) -> None:
        self._heard["readings_sent"] += 1
        try:
            row = self._row_of.get(downlink_name_of_reading_subject(message.subject), -1)
            reading = _READING.decode(message.data)
        except (WireFormatError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            row = -1
        if row < 0 or not _is_sound(reading):
            self._count["refused"] += 1
            return
        self._barred_ns[row] = self._clock.now_ns() if reading.barred else 0
        before = self._readings.get(row)
        if before is None or reading.end_ns > before.end_ns:
            self._readings[row] = reading  # at most one of each home waits for the next tick
            self._count["readings"] += 1

    async def _act(self, now_ns: int, target_w: float) -> None:
        """Take in what was read meanwhile, decide and broadcast."""
        self._begin(now_ns)
        if self._columns.version == 0:
            return  # nobody is armed yet
        if self._readings:
            taken, self._readings = self._readings, {}
            regulation.hear(self._columns, _columns_of(taken), now_ns=now_ns)
        # of the clock, so that devices take the broadcasts of a service that was started anew for newer
        self._columns.seq = max(self._columns.seq, now_ns // _NS_PER_MS)
        signal, self._state = regulation.follow(
            self._columns, t_ns=now_ns, target_w=target_w, hold_ns=self._options.hold_ns
        )
        payload = msgspec.json.encode(signal)
        if self._issuer is not None:
            (payload,) = self._issuer.sign_batch([(self._resource_id, BROADCAST, payload)])
        await self._client.publish(broadcast_subject(self._resource_id), payload)
        self._count["broadcasts"] += 1

    async def _send_next(self, start_ns: int, now_ns: int) -> None:
        shares = self._shares(start_ns, now_ns)
        # of the clock, so that the armings of a service that was started anew are newer than those of the one before
        version = max(now_ns // _NS_PER_MS, self._columns.version + 1)
        self._coming, self._made_ns, self._arm_again = (shares, version, start_ns), now_ns, False
        self._begin(now_ns)
        await self._publish_armings(range(len(self._site_ids)), now_ns)

    def _begin(self, now_ns: int) -> None:
        """Go over to the arming that comes when its time has."""
        if self._coming is not None and self._coming[2] <= now_ns and self._coming[1] > self._columns.version:
            shares, version, start_ns = self._coming
            # one that is made within its time gives the homes time to take it
            regulation.arm(self._columns, shares, version=version, start_ns=max(start_ns, self._made_ns))

    async def _send_again(self, now_ns: int) -> None:
        """Send the arming in force once more to homes that are heard of but follow another."""
        if self._coming is None or self._coming[1] != self._columns.version:
            await self._publish_armings(range(len(self._site_ids)) if self._coming else (), now_ns)
            return
        heard = now_ns - self._columns.heard_ns <= self._options.rules.silent_ns
        behind = heard & (self._columns.followed != self._columns.version)
        never = self._columns.heard_ns < 0
        await self._publish_armings(np.flatnonzero(behind | never).tolist(), now_ns)

    async def _publish_armings(self, rows: Sequence[int], now_ns: int) -> None:
        self._sent_ns = now_ns
        if self._coming is None:
            return
        shares, version, start_ns = self._coming
        armed = _is_armed(shares)
        # who is armed for nothing is left to itself
        some = [row for row in rows if armed[row]]
        await self._send(some, shares, version, start_ns, start_ns + self._options.arm_ns)

    async def _send(
        self, rows: Sequence[int], shares: RegulationShares, version: int, start_ns: int, end_ns: int
    ) -> None:
        armings = [
            RegulationArming(
                resource_id=self._resource_id,
                version=version,
                start_ns=start_ns,
                end_ns=end_ns,
                base_w=int(shares.base_w[row]),
                up_w=int(shares.up_w[row]),
                down_w=int(shares.down_w[row]),
            )
            for row in rows
        ]
        payloads = await self._frames(rows, [msgspec.json.encode(arming) for arming in armings])
        for number, (row, payload) in enumerate(zip(rows, payloads, strict=True), start=1):
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)  # a signal that comes meanwhile is broadcast between two of them
            await self._client.publish(arming_subject(self._names[row]), payload)
        self._count["armings"] += len(rows)

    async def _frames(self, rows: Sequence[int], payloads: list[bytes]) -> list[bytes]:
        if self._issuer is None:
            return payloads
        batch = [(self._site_ids[row], ARMING, payload) for row, payload in zip(rows, payloads, strict=True)]
        if len(batch) < _IN_A_THREAD:
            return self._issuer.sign_batch(batch)
        return await asyncio.to_thread(self._issuer.sign_batch, batch)

    def _next_start_ns(self) -> int:
        return self._coming[2] if self._coming is not None else -1

    def _shares(self, start_ns: int, now_ns: int) -> RegulationShares:
        """Return the shares of the arming that begins then; the base stays the same through an hour."""
        options = self._options
        barred = self._barred(now_ns)
        # what is not known is asked for nothing
        stored_kwh = np.where(self._may & ~barred, self._columns.stored_kwh, np.nan)
        known = replace(self._ability, stored_kwh=stored_kwh)
        counts = np.isfinite(stored_kwh)
        self._known = int(np.isfinite(self._columns.stored_kwh).sum())
        if start_ns // NS_PER_HOUR != self._base_hour or self._arm_again:
            limits = self._ability.charge_limit_w[counts].sum(), self._ability.discharge_limit_w[counts].sum()
            most_w = max(int(0.9 * min(limits) - options.offer_w * (1.0 + options.margin_frac)), 0)
            self._base_w = recentring_w(
                known, target_frac=options.target_frac, duration_h=1.0, limit_w=most_w
            )
            self._base_hour = start_ns // NS_PER_HOUR
        shares = share_out(
            known, offer_w=options.offer_w, margin_frac=options.margin_frac, base_total_w=self._base_w
        )
        watched = barred & self._may
        return replace(
            shares,
            up_w=np.where(watched, WATCHED_W, shares.up_w),
            down_w=np.where(watched, WATCHED_W, shares.down_w),
        )

    def _barred(self, now_ns: int) -> NDArray[np.bool_]:
        barred: NDArray[np.bool_] = now_ns - self._barred_ns <= BARRED_NS
        return barred

    def statistics(self) -> RegulationStatistics:
        """Return the counters."""
        names = ("signals", "refused", "broadcasts", "armings", "readings", "silences", "left")
        return RegulationStatistics(
            **{name: self._count[name] for name in names},
            barred=int(self._barred(self._clock.now_ns()).sum()),
            state=self._state,
        )

    def missing_w(self) -> tuple[int, int]:
        """Return what is missing of the offer with its margin, upward and downward, in the newest arming."""
        shares = self._columns.shares if self._coming is None else self._coming[0]
        return shares.short_up_w, shares.short_down_w


def _is_armed(shares: RegulationShares) -> NDArray[np.bool_]:
    armed: NDArray[np.bool_] = (shares.base_w != 0) | (shares.up_w > 0) | (shares.down_w > 0)
    return armed


def _without(shares: RegulationShares, rows: NDArray[np.bool_]) -> RegulationShares:
    """Return the shares with nothing for some rows (N)."""
    return replace(
        shares,
        base_w=np.where(rows, 0, shares.base_w),
        up_w=np.where(rows, 0, shares.up_w),
        down_w=np.where(rows, 0, shares.down_w),
    )


def _is_sound(reading: RegulationReading) -> bool:
    """Whether a reading's numbers fit into columns."""
    whole = (reading.start_ns, reading.end_ns, reading.version)
    return all(0 <= one < 2**62 for one in whole) and math.isfinite(reading.stored_kwh)


def _columns_of(readings: Mapping[int, RegulationReading]) -> MeterReports:
    told = list(readings.values())
    return MeterReports(
        rows=np.fromiter(readings, dtype=np.int64, count=len(told)),
        start_ns=np.array([one.start_ns for one in told], dtype=np.int64),
        end_ns=np.array([one.end_ns for one in told], dtype=np.int64),
        mean_w=np.array([one.mean_w for one in told], dtype=np.float64),
        stored_kwh=np.array([one.stored_kwh for one in told], dtype=np.float64),
        version=np.array([one.version for one in told], dtype=np.int64),
    )
