"""Signing in: passwords are compared slowly and not too often, and a session ends soon after its user is gone.

What the database says of a session is believed for a few seconds, so that a request costs no query; whoever signs out
or gets a new password here is forgotten at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shoal.api.door.rights import Caller, rights_of
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR
from shoal.store.users import User, Users, UserSession

BELIEVED_S: Final = 5.0
SESSION_HOURS: Final = 12.0
HOME_SESSION_HOURS: Final = 30 * 24.0
"""Of somebody who is a homeowner and nothing else."""
WINDOW_S: Final = 15 * 60.0
MAX_WRONG: Final = 5
"""Wrong passwords for one name from one address within the window."""
MAX_WRONG_OF_ADDRESS: Final = 50
MAX_REMEMBERED: Final = 10_000
HASHES_AT_ONCE: Final = 2
MAX_WAITING: Final = 16


class TooManyError(Exception):
    """Too many wrong passwords, or too many at once; `wait_s` says when to try again."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"try again in {wait_s:.0f} s")
        self.wait_s = wait_s


class WrongPasswordError(Exception):
    """No such name and password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Believed:
    caller: Caller | None
    until_s: float


class Attempts:
    """Wrong passwords of late, by whom; bounded, the longest unheard go first."""

    def __init__(self, *, now_s: Callable[[], float], window_s: float = WINDOW_S) -> None:
        self._now_s = now_s
        self._window_s = window_s
        self._wrong: OrderedDict[tuple[str, ...], deque[float]] = OrderedDict()

    def wait_s(self, key: tuple[str, ...], limit: int) -> float:
        """Return how long until another try is taken, 0 for at once."""
        wrong = self._recent(key)
        return 0.0 if len(wrong) < limit else max(wrong[-limit] + self._window_s - self._now_s(), 0.0)

    def add(self, key: tuple[str, ...]) -> None:
        """Count a wrong password."""
        wrong = self._recent(key)
        wrong.append(self._now_s())
        self._wrong[key] = wrong
        self._wrong.move_to_end(key)
        while len(self._wrong) > MAX_REMEMBERED:
            self._wrong.popitem(last=False)

    def forget(self, key: tuple[str, ...]) -> None:
        """Begin anew, after the right one."""
        self._wrong.pop(key, None)

    def take_back(self, key: tuple[str, ...]) -> None:
        """Count the last one no more: it was right."""
        if wrong := self._wrong.get(key):
            wrong.pop()

    def _recent(self, key: tuple[str, ...]) -> deque[float]:
        wrong = self._wrong.get(key, deque())
        while wrong and wrong[0] <= self._now_s() - self._window_s:
            wrong.popleft()
        return wrong


class Doorman:
    """Knows who is signed in.

    Args:
        users: Where people are kept.
        session_hours: How long a session lasts; homeowners stay longer.
        wall_ns: The machine's clock; the plant's may be simulated.
        now_s: A clock that only goes forward.
    """

    def __init__(
        self,
        users: Users,
        *,
        session_hours: float = SESSION_HOURS,
        wall_ns: Callable[[], int] = time.time_ns,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._users = users
        self._session_hours = session_hours
        self._wall_ns = wall_ns
        self._now_s = now_s
        self._believed: OrderedDict[str, _Believed] = OrderedDict()
        self._guarded: tuple[bool, float] | None = None
        self._attempts = Attempts(now_s=now_s)
        self._hashing = asyncio.Semaphore(HASHES_AT_ONCE)
        self._waiting = 0

    @property
    def users(self) -> Users:
        """Where people are kept."""
        return self._users

    def wall_ns(self) -> int:
        """Return the machine's instant."""
        return self._wall_ns()

    async def guarded(self) -> bool:
        """Whether people sign in here: somebody may."""
        if self._guarded is None or self._guarded[1] < self._now_s():
            found = await asyncio.to_thread(self._users.any)
            self._guarded = (found, self._now_s() + BELIEVED_S)
        return self._guarded[0]

    async def caller_of(self, secret: str) -> Caller | None:
        """Return who holds a session, None when there is none or it is over."""
        if not secret:
            return None
        held = self._believed.get(secret)
        if held is None or held.until_s < self._now_s():
            session = await asyncio.to_thread(self._users.session, secret, at_ns=self._wall_ns())
            caller = None if session is None else _caller(session, secret)
            held = _Believed(caller=caller, until_s=self._now_s() + BELIEVED_S)
            self._believed[secret] = held
            self._believed.move_to_end(secret)
            while len(self._believed) > MAX_REMEMBERED:
                self._believed.popitem(last=False)
        caller = held.caller
        if caller is not None and caller.until_ns is not None and caller.until_ns <= self._wall_ns():
            return None
        return caller

    async def sign_in(self, name: str, password: str, *, address: str) -> Caller:
        """Begin a session.

        Raises:
            WrongPasswordError: when there is no such name and password.
            TooManyError: when there were too many of them.
        """
        return await self._begun(await self._verified(name, password, address=address), address=address)

    async def _begun(self, user: User, *, address: str) -> Caller:
        at_ns = self._wall_ns()
        hours = HOME_SESSION_HOURS if user.roles == ("homeowner",) else self._session_hours
        until_ns = at_ns + round(hours * NS_PER_HOUR)
        secret = await asyncio.to_thread(
            self._users.begin_session, user, at_ns=at_ns, until_ns=until_ns, address=address
        )
        return _caller(UserSession(user=user, made_ns=at_ns, until_ns=until_ns, address=address), secret)

    async def sign_out(self, caller: Caller) -> None:
        """End a session."""
        self._believed.pop(caller.secret, None)
        if caller.secret:
            await asyncio.to_thread(self._users.end_session, caller.secret, at_ns=self._wall_ns())

    async def change_password(self, caller: Caller, old: str, new: str, *, address: str) -> Caller:
        """Give somebody who knows the old password a new one, and a new session; all others of the name end.

        Raises:
            WrongPasswordError: when the old one is wrong.
            TooManyError: when there were too many wrong ones.
            InvalidInputError: when the new one is too short, or is the old one.
        """
        user = await self._verified(caller.name, old, address=address)
        if new == old:
            raise InvalidInputError(
                field="password", value="the old one", fix="give another than the old one"
            )
        await asyncio.to_thread(
            self._users.set_password, caller.name, new, by=caller.name, at_ns=self._wall_ns()
        )
        self.forget()
        # not by signing in again: that could be refused for the moment, when the password is changed already
        return await self._begun(user, address=address)

    def forget(self) -> None:
        """Believe nothing any more: people were changed."""
        self._believed.clear()
        self._guarded = None

    async def _verified(self, name: str, password: str, *, address: str) -> User:
        name = name.strip().lower()[:64]
        of_name, of_address = (name, address), (address,)
        wait_s = max(
            self._attempts.wait_s(of_name, MAX_WRONG), self._attempts.wait_s(of_address, MAX_WRONG_OF_ADDRESS)
        )
        if wait_s > 0:
            raise TooManyError(wait_s)
        if self._waiting >= MAX_WAITING:
            raise TooManyError(1.0)
        # Counted before it is known, so that many at once do not get more tries than one after the other.
        self._attempts.add(of_name)
        self._attempts.add(of_address)
        self._waiting += 1
        try:
            async with self._hashing:
                user = await asyncio.to_thread(self._users.verify, name, password)
        finally:
            self._waiting -= 1
        if user is None:
            raise WrongPasswordError
        self._attempts.forget(of_name)
        self._attempts.take_back(of_address)
        return user


def _caller(session: UserSession, secret: str) -> Caller:
    user = session.user
    own = frozenset[str](user.sites)
    return Caller(
        name=user.name,
        roles=user.roles,
        rights=rights_of(user.roles),
        sites=own,
        mode="user",
        until_ns=session.until_ns,
        secret=secret,
    )
