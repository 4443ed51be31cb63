"""The grammar of settings: what a key is, how a value is read for it, how it is shown without its secret.

A key is declared once, as a dataclass field made by `key(...)`. Reading, range checks, error texts, `config
show` and the documentation all derive from that declaration.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeAlias, cast, get_type_hints

from shoal.domain.errors import SettingsError

Value: TypeAlias = str | int | float | bool | Path

HIDDEN: Final = "***"
_SCHEME: Final = r"[A-Za-z][A-Za-z0-9+.\-]*://"
_URL_PASSWORD: Final = re.compile(rf"({_SCHEME}[^\s:/@]*):(?:(?!,{_SCHEME})\S)*@")
_URL_BARE_TOKEN: Final = re.compile(r"\b((?:nats|tls|wss?)://)[^\s:/@,]+@")
_URL_PARAMETER: Final = re.compile(r"([?&](?:password|passwd|token|sslpassword)=)[^&\s]+", re.IGNORECASE)
_YES: Final = frozenset({"true", "1", "yes", "on"})
_NO: Final = frozenset({"false", "0", "no", "off"})
_KIND_NAMES: Final = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Path: "a path",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a key means and which values it takes.

    Attributes:
        about: One sentence for the documentation.
        unit: The unit in words; empty for none.
        low: The smallest value, inclusive.
        high: The largest value, inclusive.
        choices: The only values, when there are few.
        pattern: A regular expression that the whole text must match.
        form: `pattern` in words.
        secret: Whether the value is never shown.
        url: Whether a password may stand inside the value.
    """

    about: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    form: str = ""
    secret: bool = False
    url: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A key as declared: its full name, type, default and rule."""

    name: str
    kind: type
    default: Value
    rule: Rule

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "SHOAL_" + self.name.replace(".", "__").upper()

    @property
    def allowed(self) -> str:
        """Say in words which values it takes."""
        rule = self.rule
        if rule.choices:
            return "one of " + ", ".join(rule.choices)
        if rule.form:
            return rule.form
        words = _KIND_NAMES[self.kind]
        if rule.low is not None and rule.high is not None:
            words += f" from {_plain(rule.low)} to {_plain(rule.high)}"
        elif rule.low is not None:
            words += f" of at least {_plain(rule.low)}"
        elif rule.high is not None:
            words += f" of at most {_plain(rule.high)}"
        return words + (f" ({rule.unit})" if rule.unit else "")

    def shown(self, value: object) -> object:
        """Return the value as it may be shown to anybody."""
        if self.rule.secret:
            return HIDDEN if value != "" else ""
        if self.rule.url:
            return mask_url(str(value))
        return str(value) if isinstance(value, Path) else value

    def read(self, value: object, source: str) -> Value:
        """Return the value as the key's type.

        Args:
            value: A text (environment, flag) or a typed value (file, flag).
            source: Where it came from, for the error.

        Raises:
            SettingsError: when it is of another type, out of range or not one of the choices.
        """
        read = self._convert(value)
        if read is None or not self._in_range(read):
            raise SettingsError(
                field=self.name, value=self.shown(value), fix=f"{source} must give {self.allowed}"
            )
        return read

    def _convert(self, value: object) -> Value | None:
        if self.kind is bool:
            return _to_bool(value)
        if self.kind in (int, float):
            return _to_number(self.kind, value)
        if not isinstance(value, (str, Path)) or "\0" in str(value):
            return None
        if self.kind is Path:
            return Path(value) if str(value) else None
        return str(value)

    def _in_range(self, value: Value) -> bool:
        rule = self.rule
        if rule.choices:
            return value in rule.choices
        if rule.pattern:
            return re.fullmatch(rule.pattern, str(value)) is not None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return (rule.low is None or value >= rule.low) and (rule.high is None or value <= rule.high)
        return True


def key(default: Value, about: str, **rules: Any) -> Any:
    """Declare a key: a dataclass field with a default and a `Rule`."""
    return field(default=default, metadata={"rule": Rule(about=about, **rules)})


def mask_url(text: str) -> str:
    """Return `text` with the passwords and tokens of every URL in it hidden."""
    text = _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text)
    text = _URL_BARE_TOKEN.sub(rf"\1{HIDDEN}@", text)
    return _URL_PARAMETER.sub(rf"\1{HIDDEN}", text)


def section_types(settings: type) -> dict[str, type]:
    """Return the sections of a settings class: field name to section class, in order."""
    hints = get_type_hints(settings)
    return {f.name: hints[f.name] for f in fields(settings) if issubclass_of(hints[f.name], Section)}


def issubclass_of(kind: object, parent: type) -> bool:
    """Whether `kind` is a class below `parent`."""
    return isinstance(kind, type) and issubclass(kind, parent)


class Section:
    """A group of keys; its `repr` shows no secret."""

    __slots__ = ()

    def __repr__(self) -> str:
        parts = [f"{d.name}={d.shown(getattr(self, d.name))!r}" for d in declared(type(self))]
        return f"{type(self).__name__}({', '.join(parts)})"


def declared(holder: type, prefix: str = "") -> tuple[Declared, ...]:
    """Return the keys of a section or of a whole settings class, in order."""
    hints = get_type_hints(holder)
    found: list[Declared] = []
    for f in fields(holder):
        kind = hints[f.name]
        if "rule" in f.metadata:
            found.append(
                Declared(
                    name=prefix + f.name, kind=kind, default=cast("Value", f.default), rule=f.metadata["rule"]
                )
            )
        elif issubclass_of(kind, Section):
            found.extend(declared(kind, f"{prefix}{f.name}."))
    return tuple(found)


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a hint for a wrong key: the nearest valid ones, or how to list all."""
    names = list(valid)
    same_leaf = [n for n in names if n.rpartition(".")[2] == name.rpartition(".")[2]]
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    found = list(dict.fromkeys([*close, *same_leaf]))[:3]
    if found:
        return "did you mean " + " or ".join(found) + "?"
    return "`shoal config docs` lists every key"


def _to_bool(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _YES | _NO:
        return value.strip().lower() in _YES
    return None


def _to_number(kind: type, value: object) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    if kind is int and isinstance(value, float):
        return None
    try:
        number: int | float = int(value) if kind is int else float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else repr(number)
