"""The settings of the plant: one typed object, read from defaults, a TOML file, the environment and flags.

Later sources win: defaults < file < environment (`SHOAL_SECTION__KEY`) < flags. Every value remembers where
it came from. A wrong key or value is refused before anything starts, and a secret is never shown.
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

from shoal.domain.errors import SettingsError
from shoal.runtime.keys import Declared, Section, Value, declared, key, nearest, section_types
from shoal.runtime.sections import (
    Api,
    Bidding,
    ClockSource,
    Control,
    Demo,
    Fabric,
    Feeds,
    History,
    Log,
    Registry,
    Telemetry,
)
from shoal.runtime.service_sections import Prices, Regulation

DEFAULT_FILE: Final = "shoal.toml"
_PREFIX: Final = "SHOAL_"
_CONFIG_VARIABLE: Final = "SHOAL_CONFIG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One key as `shoal config show` prints it; a secret is already hidden."""

    key: str
    value: object
    source: str
    unit: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings(Section):
    """Every setting, by section. `sources` says where each value that is no default came from."""

    data_dir: Path = key(  # noqa: RUF009 - a field, not a shared default
        Path(".shoal"), "directory of everything that the plant keeps on disk"
    )
    fabric: Fabric = field(default_factory=Fabric)
    telemetry: Telemetry = field(default_factory=Telemetry)
    history: History = field(default_factory=History)
    control: Control = field(default_factory=Control)
    regulation: Regulation = field(default_factory=Regulation)
    prices: Prices = field(default_factory=Prices)
    bidding: Bidding = field(default_factory=Bidding)
    feeds: Feeds = field(default_factory=Feeds)
    api: Api = field(default_factory=Api)
    registry: Registry = field(default_factory=Registry)
    demo: Demo = field(default_factory=Demo)
    log: Log = field(default_factory=Log)
    clock: ClockSource = field(default_factory=ClockSource)
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        changed = [f"{s.key}={s.value!r}" for s in self.show() if s.source != "default"]
        return f"Settings({', '.join(changed)})"

    def value(self, name: str) -> Value:
        """Return the value of a dotted key.

        Raises:
            SettingsError: when there is no such key.
        """
        _declaration(name, "the caller")
        section, _, leaf = name.rpartition(".")
        holder = getattr(self, section) if section else self
        found: Value = getattr(holder, leaf)
        return found

    def show(self) -> list[Shown]:
        """Return every key with its value as it may be shown, its source, unit and description."""
        return [
            Shown(
                key=d.name,
                value=d.shown(self.value(d.name)),
                source=self.sources.get(d.name, "default"),
                unit=d.rule.unit,
                description=d.rule.about,
            )
            for d in all_keys()
        ]

    def with_values(self, values: Mapping[str, object], source: str) -> Settings:
        """Return a copy with dotted keys set; a None is left out.

        Args:
            values: Texts or typed values by dotted key.
            source: Where they came from, as errors and `config show` name it.

        Raises:
            SettingsError: when a key or a value is wrong, or two values contradict each other.
        """
        settings = _apply(
            self, {name: (value, source) for name, value in values.items() if value is not None}
        )
        _check_together(settings)
        return settings

    def save(self, path: Path) -> None:
        """Write everything, secrets included, to a file that only its owner may read, for `saved` in a child.

        A relative `data_dir` is written as an absolute one, so that the reader may live elsewhere.
        """
        values = {d.name: self.value(d.name) for d in all_keys()}
        values["data_dir"] = self.data_dir.absolute()
        text = msgspec.json.encode(
            {
                "values": {n: str(v) if isinstance(v, Path) else v for n, v in values.items()},
                "sources": self.sources,
            }
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text)
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise

    @staticmethod
    def saved(path: Path) -> Settings:
        """Return what `save` wrote; neither the environment nor a file is looked at.

        Raises:
            SettingsError: when the file cannot be read or holds a wrong key or value.
        """
        try:
            content = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, Any]])
            values, sources = content["values"], content["sources"]
        except (OSError, msgspec.DecodeError, KeyError) as error:
            raise SettingsError(
                field=str(path), value=str(error), fix="give a file that Shoal saved"
            ) from error
        settings = _apply(Settings(), {n: (v, sources.get(n, "default")) for n, v in values.items()})
        _check_together(settings)
        return replace(settings, sources={n: s for n, s in settings.sources.items() if s != "default"})


@cache
def all_keys() -> tuple[Declared, ...]:
    """Return every declared key in order."""
    return declared(Settings)


def load_settings(
    *,
    file: Path | None = None,
    flags: Mapping[str, object] | None = None,
    env: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Settings:
    """Read the settings from every source.

    Args:
        file: The TOML file; else the one that `SHOAL_CONFIG` names, else `shoal.toml` in `directory`, if any.
        flags: Values by dotted key, as texts or typed; a None was not given.
        env: The environment; the process's own when none is given.
        directory: Where `shoal.toml` is looked for; the working directory when none is given.

    Raises:
        SettingsError: when a source cannot be read, or a key or a value is wrong.
    """
    environment = os.environ if env is None else env
    given: dict[str, tuple[object, str]] = {}
    path = _file_path(file, environment, directory or Path())
    if path is not None:
        given.update(_from_file(path))
    given.update(_from_environment(environment))
    given.update({n: (v, "flag") for n, v in (flags or {}).items() if v is not None})
    settings = _apply(Settings(), given)
    _check_together(settings)
    return settings


def docs_markdown() -> str:
    """Return the documentation of every key as Markdown."""
    parts: list[str] = []
    head = ["| key | default | takes | meaning |", "|---|---|---|---|"]
    groups: dict[str, list[Declared]] = {}
    for d in all_keys():
        groups.setdefault(d.name.rpartition(".")[0], []).append(d)
    for section, keys in groups.items():
        if section:
            about = (section_types(Settings)[section].__doc__ or "").strip()
            parts += [f"### `[{section}]`", "", about, ""]
        rows = [f"| `{d.name}` | {_code(d.default)} | {d.allowed} | {_about(d)} |" for d in keys]
        parts += [*head, *rows, ""]
    return "\n".join(parts).rstrip() + "\n"


def _about(d: Declared) -> str:
    return f"{d.rule.about}; secret" if d.rule.secret else d.rule.about


def _code(value: Value) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if str(value) else "empty"


def _file_path(file: Path | None, env: Mapping[str, str], directory: Path) -> Path | None:
    if file is not None:
        return file
    if env.get(_CONFIG_VARIABLE):
        return Path(env[_CONFIG_VARIABLE])
    usual = directory / DEFAULT_FILE
    return usual if usual.is_file() else None


def _from_file(path: Path) -> dict[str, tuple[object, str]]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise SettingsError(field="config file", value=str(path), fix=f"it cannot be read: {why}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            field="config file", value=str(path), fix=f"it must be valid TOML: {error}"
        ) from error
    flat: dict[str, tuple[object, str]] = {}
    for name, value in content.items():
        if isinstance(value, dict) and name in section_types(Settings):
            flat.update({f"{name}.{leaf}": (inner, str(path)) for leaf, inner in value.items()})
        else:
            flat[name] = (value, str(path))
    return flat


def _from_environment(env: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    """Read `SHOAL_*`: with a double underscore it must be a key; other names may belong to the platform."""
    top_level = {d.name for d in all_keys() if "." not in d.name}
    found: dict[str, tuple[object, str]] = {}
    for variable in sorted(env):
        name = variable.removeprefix(_PREFIX).lower().replace("__", ".", 1)
        if variable.startswith(_PREFIX) and ("." in name or name in top_level):
            found[name] = (env[variable], f"environment variable {variable}")
    return found


def _declaration(name: str, source: str) -> Declared:
    for d in all_keys():
        if d.name == name:
            return d
    if name in section_types(Settings):
        raise SettingsError(
            field=name, value="a single value", fix=f"{source} must give a table of keys, [{name}]"
        )
    hint = nearest(name, [d.name for d in all_keys()])
    raise SettingsError(field=name, value="no such key", fix=f"it came from {source}; {hint}")


def _apply(settings: Settings, given: Mapping[str, tuple[object, str]]) -> Settings:
    top: dict[str, Any] = {}
    sections: dict[str, dict[str, Value]] = {}
    for name, (value, source) in given.items():
        read = _declaration(name, source).read(value, source)
        section, _, leaf = name.rpartition(".")
        (sections.setdefault(section, {}) if section else top)[leaf] = read
    for section, values in sections.items():
        top[section] = replace(getattr(settings, section), **values)
    sources = {**settings.sources, **{name: source for name, (_, source) in given.items()}}
    return replace(settings, **top, sources=sources)


def _check_together(settings: Settings) -> None:
    """Refuse values that are right alone and wrong together."""
    tele, control, bidding, fabric = settings.telemetry, settings.control, settings.bidding, settings.fabric
    if tele.unknown_timeout_s <= tele.fresh_timeout_s:
        raise SettingsError(
            field="telemetry.unknown_timeout_s",
            value=tele.unknown_timeout_s,
            fix=f"it must be longer than telemetry.fresh_timeout_s ({tele.fresh_timeout_s:g} s)",
        )
    if control.lease_s <= control.step_s:
        raise SettingsError(
            field="control.lease_s",
            value=control.lease_s,
            fix=f"it must be longer than control.step_s ({control.step_s:g} s)",
        )
    tiers = ("raw_days", "rollup_5min_days", "rollup_1h_days")
    for finer, coarser in pairwise(tiers):
        days, longer = getattr(settings.history, finer), getattr(settings.history, coarser)
        if longer and (days == 0 or days > longer):
            raise SettingsError(
                field=f"history.{coarser}",
                value=longer,
                fix=f"keep it as long as what it is made from, at least history.{finer} ({days:g} days, 0 for ever)",
            )
    work_s = bidding.decide_budget_s + bidding.submit_budget_s
    if work_s > bidding.lead_time_s:
        raise SettingsError(
            field="bidding.lead_time_s",
            value=bidding.lead_time_s,
            fix=f"it must hold both budgets together ({work_s:g} s)",
        )
    if fabric.replicas > 1 and not (fabric.url or fabric.cluster_name):
        raise SettingsError(
            field="fabric.replicas",
            value=fabric.replicas,
            fix="an engine that stands alone keeps one copy; name the cluster (fabric.cluster_name)",
        )
    if settings.prices.step_s % 900:
        raise SettingsError(
            field="prices.step_s", value=settings.prices.step_s, fix="give a multiple of 900 s, as homes plan"
        )
    if bool(fabric.tls_cert) != bool(fabric.tls_key):
        missing = "fabric.tls_key" if fabric.tls_cert else "fabric.tls_cert"
        raise SettingsError(
            field=missing, value="", fix="give the certificate and its key together, or neither"
        )
