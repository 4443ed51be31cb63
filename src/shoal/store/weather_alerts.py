"""Weather alerts on disk: the latest word of each issuer, kept until some time after it ends.

An alert that is taken again replaces itself, so issuers may repeat and correct what they say. As long as it stands it keeps
the instant at which it was taken first: what rests on that does not begin anew with every repetition.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Engine, case, delete, select

from shoal.domain.alert import WeatherAlert
from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.domain.interval import NS_PER_HOUR
from shoal.store.database import insert_into, reading, writing
from shoal.store.schema import WEATHER_ALERT

HOLDS_NS: Final = 24 * NS_PER_HOUR
"""How long an alert holds whose issuer does not say."""
KEPT_NS: Final = 7 * 24 * NS_PER_HOUR
"""How long one is kept after it has ended."""

_ALERT: Final = msgspec.json.Decoder(WeatherAlert)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAlert:
    """An alert as it was taken.

    Attributes:
        key: Short name; the same for what the issuer calls the same.
        taken_ns: When it was taken first.
        taken_by: By whom.
        until_ns: When it ends.
        alert: What the issuer says.
    """

    key: str
    taken_ns: int
    taken_by: str
    until_ns: int
    alert: WeatherAlert

    @classmethod
    def of(cls, alert: WeatherAlert, *, taken_ns: int, taken_by: str) -> KeptAlert:
        """Return an alert as it is kept; one without a name of its own is known by what it says."""
        said = alert.alert_id.encode() or msgspec.json.encode(alert)
        return cls(
            key=hashlib.blake2b(said, digest_size=8).hexdigest(),
            taken_ns=taken_ns,
            taken_by=taken_by,
            until_ns=taken_ns + HOLDS_NS if alert.effective is None else alert.effective.end_ns,
            alert=alert,
        )


class WeatherAlertLog:
    """Alerts in a migrated database. Calls block; an asynchronous caller runs them in a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, alerts: Sequence[KeptAlert], *, now_ns: int) -> None:
        """Keep alerts in place of the former ones of the same keys, and let go of what ended long ago.

        Raises:
            UnavailableError: when the database cannot be reached; nothing was changed then.
        """
        rows = {alert.key: _row(alert) for alert in alerts}
        with writing(self._engine) as connection:
            connection.execute(delete(WEATHER_ALERT).where(WEATHER_ALERT.c.until_ns < now_ns - KEPT_NS))
            if rows:
                upsert = insert_into(connection, WEATHER_ALERT)
                changes: dict[str, Any] = {
                    column.name: upsert.excluded[column.name] for column in WEATHER_ALERT.columns
                }
                stands = WEATHER_ALERT.c.until_ns > now_ns
                changes["taken_ns"] = case((stands, WEATHER_ALERT.c.taken_ns), else_=upsert.excluded.taken_ns)
                connection.execute(
                    upsert.on_conflict_do_update(index_elements=["key"], set_=changes), list(rows.values())
                )

    def withdraw(self, key: str) -> bool:
        """Forget an alert; return whether there was one."""
        with writing(self._engine) as connection:
            return connection.execute(delete(WEATHER_ALERT).where(WEATHER_ALERT.c.key == key)).rowcount > 0

    def standing(self, now_ns: int) -> list[KeptAlert]:
        """Return the alerts that have not ended, the one that ends first first.

        Raises:
            UnavailableError: when the database cannot be reached.
            CorruptStateError: when one cannot be read.
        """
        return [_kept(row) for row in self._rows(now_ns)]

    def readable(self, now_ns: int) -> tuple[list[KeptAlert], dict[str, str]]:
        """Return the same without those that cannot be read, and why these cannot, by key.

        Raises:
            UnavailableError: when the database cannot be reached.
        """
        found, broken = [], {}
        for row in self._rows(now_ns):
            key = str(row["key"])
            try:
                found.append(_kept(row))
            except CorruptStateError as error:
                broken[key] = error.why
        return found, broken

    def _rows(self, now_ns: int) -> list[dict[str, Any]]:
        query = select(WEATHER_ALERT).where(WEATHER_ALERT.c.until_ns > now_ns)
        query = query.order_by(WEATHER_ALERT.c.until_ns, WEATHER_ALERT.c.key)
        with reading(self._engine) as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def _row(kept: KeptAlert) -> dict[str, Any]:
    return {
        "key": kept.key,
        "taken_ns": kept.taken_ns,
        "taken_by": kept.taken_by,
        "until_ns": kept.until_ns,
        "alert": msgspec.json.encode(kept.alert).decode(),
    }


def _kept(row: dict[str, Any]) -> KeptAlert:
    try:
        alert = _ALERT.decode(row.pop("alert"))
    except (msgspec.DecodeError, InvalidInputError) as error:  # an area is checked when it is made
        raise CorruptStateError(f"weather alert {row['key']}", str(error)) from error
    return KeptAlert(**row, alert=alert)
