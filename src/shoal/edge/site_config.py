"""The configuration of one site's agent: a TOML file, with a few values that flags and the environment may give instead.

The secret is never in it: it comes from a file or from the environment, and nothing that is printed or logged holds it.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from shoal.domain.errors import InvalidInputError, SettingsError
from shoal.domain.ids import SiteId, site_id
from shoal.edge.planner_tariff import Tariff, TariffWeek, TariffWindow

SECRET_VARIABLE: Final = "SHOAL_EDGE_SECRET"
_KEY_HEX: Final = 64

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Amount = Annotated[float, Meta(ge=0.0, le=1e6)]
Efficiency = Annotated[float, Meta(ge=0.5, le=1.0)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Seconds = Annotated[float, Meta(ge=0.1, le=3_600.0)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class PlantSection(_Section, frozen=True, kw_only=True):
    """The plant that the site belongs to; without a host the site is its own master.

    Attributes:
        host: Name or address of its broker.
        port: MQTT port; 8883 with TLS, 1883 without, when 0.
        tls: Whether to speak TLS and check the broker's certificate.
        ca_file: Whom to trust for that; the system's authorities when empty.
        secret_file: Where the site's secret is; the environment variable SHOAL_EDGE_SECRET goes before it.
        root_public_key: 64 hexadecimal digits; with it only signed commands are taken.
        tenant: Whose site it is, for signed commands.
        prices: What the plant may learn of what the site would do at other prices: nothing (``off``), only the sum of a group
            of sites (``group``), or the site by itself (``alone``).
    """

    host: str = ""
    port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    tls: bool = True
    ca_file: str = ""
    secret_file: str = ""
    root_public_key: str = ""
    tenant: str = "plant"
    prices: Literal["off", "group", "alone"] = "group"


class BatterySection(_Section, frozen=True, kw_only=True):
    """What is installed; a limit that the device itself says lower is the one that holds."""

    capacity_kwh: Amount
    charge_limit_kw: Amount
    discharge_limit_kw: Amount
    charge_efficiency_frac: Efficiency = 0.95
    discharge_efficiency_frac: Efficiency = 0.95
    reserve_frac: Share = 0.2
    wear_per_kwh: Amount = 0.0


class LimitsSection(_Section, frozen=True, kw_only=True):
    """Static limits of the connection; none when left out."""

    import_kw: Amount | None = None
    export_kw: Amount | None = None


class WindowSection(_Section, frozen=True, kw_only=True):
    """See `TariffWindow`."""

    begin: str
    end: str
    import_per_kwh: float
    export_per_kwh: float | None = None
    days: tuple[str, ...] = ()


class TariffSection(_Section, frozen=True, kw_only=True):
    """See `Tariff`."""

    import_per_kwh: float = 0.30
    export_per_kwh: float = 0.05
    currency: str = ""
    windows: tuple[WindowSection, ...] = ()


class PageSection(_Section, frozen=True, kw_only=True):
    """The status page.

    Attributes:
        listen: Address to listen on; empty for no page. Anything but loopback needs a PIN.
        port: Its port; 0 for a free one.
        pin_file: Where the PIN is that its buttons, and on a network the page itself, ask for.
    """

    listen: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8_088
    pin_file: str = ""


class TimesSection(_Section, frozen=True, kw_only=True):
    """How often things happen.

    Attributes:
        tick_s: Between two decisions.
        sample_s: Between two samples of telemetry.
        stale_s: Age at which a measurement no longer counts: the battery goes to nothing.
        keep_samples: How many samples wait for the plant at most; a day of them, and a quarter, when 0.
    """

    tick_s: Seconds = 5.0
    sample_s: Seconds = 60.0
    stale_s: Seconds = 20.0
    keep_samples: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class EdgeConfig(_Section, frozen=True, kw_only=True):
    """Everything.

    Attributes:
        site: The site's id.
        zone: Its local time, as ``Europe/Berlin``.
        state_dir: Where it keeps what must survive a restart.
        driver: ``kind`` and what that driver needs, see `docs/edge.md`.
    """

    site: str
    state_dir: str
    battery: BatterySection
    driver: dict[str, Any]
    zone: str = "UTC"
    plant: PlantSection = PlantSection()
    limits: LimitsSection = LimitsSection()
    tariff: TariffSection = TariffSection()
    page: PageSection = PageSection()
    times: TimesSection = TimesSection()
    log: Literal["json", "console"] = "console"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A configuration that was looked through.

    Attributes:
        config: As it was written.
        site: The site's id.
        zone: Its local time.
        tariff: Its prices.
        root_public_key: 32 bytes; None to take unsigned commands.
        mqtt_port: The broker's port.
    """

    config: EdgeConfig
    site: SiteId
    zone: ZoneInfo
    tariff: Tariff
    root_public_key: bytes | None
    mqtt_port: int


def read_config(file: Path | None, flags: Mapping[str, Any]) -> Checked:
    """Return the configuration of a file with the values of flags over it.

    Args:
        file: A TOML file; None for flags alone.
        flags: Values by key, with dots between section and name; a None was not given.

    Raises:
        SettingsError: naming the key that is wrong, and how to mend it.
    """
    content: dict[str, Any] = {}
    if file is not None:
        try:
            content = tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            raise SettingsError(field="--config", value=str(file), fix=f"{error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(field="--config", value=str(file), fix=f"mend the file: {error}") from error
    for key, value in flags.items():
        if value is not None:
            section = content
            *parents, name = key.split(".")
            for parent in parents:
                section = section.setdefault(parent, {})
            section[name] = value
    try:
        return check_config(msgspec.convert(content, EdgeConfig))
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at ")
        field = where.strip("`").removeprefix("$.") or "configuration"
        raise SettingsError(field=field, value="as given", fix=text) from error


def check_config(config: EdgeConfig) -> Checked:
    """Return what a configuration means.

    Raises:
        SettingsError: naming the key that is wrong, and how to mend it.
    """
    try:
        zone = ZoneInfo(config.zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise SettingsError(field="zone", value=config.zone, fix="name one, as Europe/Berlin") from error
    windows = [TariffWindow(**msgspec.structs.asdict(window)) for window in config.tariff.windows]
    tariff = Tariff(
        import_per_kwh=config.tariff.import_per_kwh,
        export_per_kwh=config.tariff.export_per_kwh,
        currency=config.tariff.currency,
        windows=tuple(windows),
    )
    try:
        site = site_id(config.site)
        TariffWeek(tariff, zone)
    except InvalidInputError as error:
        raise SettingsError(field=error.field, value=error.value, fix=error.fix) from error
    key = config.plant.root_public_key
    try:
        root = bytes.fromhex(key) if key else None
    except ValueError:
        root = b""
    if root is not None and len(key) != _KEY_HEX:
        raise SettingsError(
            field="plant.root_public_key", value=key, fix=f"give {_KEY_HEX} hexadecimal digits"
        )
    if config.times.stale_s < 2 * config.times.tick_s:
        raise SettingsError(
            field="times.stale_s",
            value=config.times.stale_s,
            fix="at least two ticks, or one slow answer stops it",
        )
    if not isinstance(config.driver.get("kind"), str):
        raise SettingsError(field="driver.kind", value=config.driver.get("kind"), fix="name a driver")
    return Checked(
        config=config,
        site=site,
        zone=zone,
        tariff=tariff,
        root_public_key=root,
        mqtt_port=config.plant.port or (8_883 if config.plant.tls else 1_883),
    )


def read_secret(config: EdgeConfig, environment: Mapping[str, str] = os.environ) -> str:
    """Return the site's secret, from the environment or its file.

    Raises:
        SettingsError: when neither has it, or the file may be read by everybody.
    """
    given = environment.get(SECRET_VARIABLE, "").strip()
    if given:
        return given
    if not config.plant.secret_file:
        raise SettingsError(
            field="plant.secret_file",
            value="",
            fix=f"name the file with the secret, or set {SECRET_VARIABLE}",
        )
    return read_private(config.plant.secret_file, "plant.secret_file")


def read_private(path: str, field: str) -> str:
    """Return what a file that only its owner may read holds.

    Raises:
        SettingsError: when it cannot be read, is empty, or others may read it.
    """
    file = Path(path)
    try:
        if file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            raise SettingsError(field=field, value=path, fix="let only its owner read it: chmod 600")
        text = file.read_text("utf-8").strip()
    except OSError as error:
        raise SettingsError(field=field, value=path, fix=str(error.strerror)) from error
    if not text:
        raise SettingsError(field=field, value=path, fix="it is empty")
    return text
