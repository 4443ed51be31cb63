"""From a configuration to a driver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from shoal.domain.errors import InvalidInputError, SettingsError
from shoal.edge.drivers.mqtt_site import Command, Mapped, MqttBroker, MqttSite
from shoal.edge.drivers.protocol import Driver
from shoal.edge.drivers.sunspec_site import SunSpecAddress, SunSpecSite

KINDS: Final = ("sunspec", "mqtt")


class _SunSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: str
    devices: tuple[SunSpecAddress, ...]
    timeout_s: float = 3.0


class _Mqtt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: str
    broker: MqttBroker
    measured: dict[str, Mapped]
    command: Command | None = None
    stale_s: float = 30.0


def make_driver(section: Mapping[str, Any], *, revert_s: int, stale_s: float, password: str = "") -> Driver:
    """Return the driver that a ``driver`` section describes; it connects when it is first asked.

    Args:
        section: ``kind`` and what that driver needs.
        revert_s: After so long without a command the battery goes back to its own control, where the device can.
        stale_s: Age at which what a device said unasked no longer counts, unless the section says otherwise.
        password: Of the site's own broker, from the environment; else the section's.

    Raises:
        SettingsError: naming the key that is wrong, and how to mend it.
    """
    kind = section.get("kind")
    try:
        if kind == "sunspec":
            sunspec = msgspec.convert(section, _SunSpec)
            return SunSpecSite(sunspec.devices, revert_s=revert_s, timeout_s=sunspec.timeout_s)
        if kind == "mqtt":
            mqtt = msgspec.convert({"stale_s": stale_s, **section}, _Mqtt)
            broker = mqtt.broker
            if password:
                values = {name: getattr(broker, name) for name in MqttBroker.__slots__}
                broker = MqttBroker(**{**values, "password": password})
            return MqttSite(broker, mqtt.measured, mqtt.command, stale_s=mqtt.stale_s)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at ")
        field = where.strip("`").replace("$", "driver", 1) or "driver"
        raise SettingsError(field=field, value="as given", fix=text) from error
    except InvalidInputError as error:
        raise SettingsError(field=error.field, value=error.value, fix=error.fix) from error
    raise SettingsError(field="driver.kind", value=kind, fix=f"choose one of {', '.join(KINDS)}")
