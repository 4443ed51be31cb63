"""Every fault that Shoal raises on purpose, in one tree.

    ShoalError
    ├── InvalidInputError        a value that somebody can mend: field, value, fix
    │   ├── SettingsError        a key or value of the configuration
    │   ├── FeedError            a document of a feed, or a request for one
    │   └── WireFormatError      a message that is not what its version says
    ├── UnknownIdError           an id that the registry does not have
    ├── GateClosedError          a bid after its gate
    ├── DeadlineExceededError    a step that overran its budget
    ├── StaleTelemetryError      a decision that needs fresher measurements than there are
    ├── FencedOutError           a writer whose token is no longer the newest
    ├── ForgedError              a command that a device must not obey (in `shoal.edge.signed`): reason, detail
    ├── UnavailableError         a server or store that cannot be reached now; trying again may help
    └── CorruptStateError        something on disk that does not check out

A refusal that the domain foresees (a bid out of range, a set-point beyond capability) is not an error but an
`Outcome`. Each error carries its facts as attributes, so that a caller never parses its text.
"""

from __future__ import annotations

from typing import Any


def _restored(kind: type[ShoalError], args: tuple[Any, ...], facts: dict[str, Any]) -> ShoalError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


class ShoalError(Exception):
    """The root of the tree. An error crosses processes and journals with its facts, whatever its signature."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)


class InvalidInputError(ShoalError):
    """A value from outside that cannot be used; it names the field, the value and the fix."""

    def __init__(self, *, field: str, value: object, fix: str) -> None:
        super().__init__(f"{field}: {value!r} cannot be used; {fix}")
        self.field = field
        self.value = value
        self.fix = fix


class SettingsError(InvalidInputError):
    """A wrong key or value in the configuration."""


class WireFormatError(ShoalError):
    """A message that cannot be decoded; `reason` is a stable code, `detail` is for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class UnknownIdError(ShoalError):
    """An id that the registry does not have."""

    def __init__(self, kind: str, value: str) -> None:
        super().__init__(f"{kind} {value!r} is not registered; `shoal` lists what is")
        self.kind = kind
        self.value = value


class GateClosedError(ShoalError):
    """A bid came at or after its gate."""

    def __init__(self, *, gate_ns: int, now_ns: int) -> None:
        super().__init__(f"the gate closed {(now_ns - gate_ns) / 1e9:.3f} s ago")
        self.gate_ns = gate_ns
        self.now_ns = now_ns


class DeadlineExceededError(ShoalError):
    """A step overran its budget."""

    def __init__(self, step: str, budget_s: float) -> None:
        super().__init__(f"step {step!r} overran its budget of {budget_s:.3f} s")
        self.step = step
        self.budget_s = budget_s


class StaleTelemetryError(ShoalError):
    """A decision needs fresher measurements than there are."""

    def __init__(self, *, coverage_frac: float, needed_frac: float) -> None:
        super().__init__(f"coverage is {coverage_frac:.3f}, at least {needed_frac:.3f} is needed")
        self.coverage_frac = coverage_frac
        self.needed_frac = needed_frac


class FencedOutError(ShoalError):
    """A writer holds a token that is no longer the newest."""

    def __init__(self, *, held: int, newest: int) -> None:
        super().__init__(f"token {held} was replaced by {newest}")
        self.held = held
        self.newest = newest


class UnavailableError(ShoalError):
    """A server or store cannot be reached now."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} is unavailable: {why}")
        self.what = what
        self.why = why


class CorruptStateError(ShoalError):
    """Something on disk does not check out."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where} is corrupt: {why}")
        self.where = where
        self.why = why
