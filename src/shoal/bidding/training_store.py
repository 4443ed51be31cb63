"""Models kept: a file a model, named by the hash of its bytes, a row that says what it is, and who is champion.

A file is complete before its row is, and never changes; a row that is there points to a file that checks out. Keeping the
same model twice changes nothing. The champion of a series is the newest promotion, and a promotion names whom it replaces:
of two that would replace the same one, one is refused.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import Engine, select

from shoal.domain.errors import CorruptStateError, UnavailableError, UnknownIdError
from shoal.forecast.champion import Contest
from shoal.forecast.protocol import Model, decode_model, encode_model
from shoal.store.database import insert_into, reading, writing
from shoal.store.model_schema import CONTEST, MODEL, PROMOTION


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptModel:
    """What is known of a model without opening it."""

    version: str
    series_id: str
    root_version: str
    asked_ns: int
    from_ns: int
    to_ns: int
    kept_ns: int
    digest: str
    size_bytes: int
    scores: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """Who is champion since when, and why."""

    series_id: str
    number: int
    version: str
    since_ns: int
    reason: str


class ModelStore:
    """Models in a folder, and their rows in a migrated database. Calls block.

    Args:
        folder: Where the files are; made when it is not there.
        engine: The database.
    """

    def __init__(self, folder: Path, engine: Engine) -> None:
        self._folder = folder
        self._engine = engine
        folder.mkdir(parents=True, exist_ok=True)

    def keep(
        self, series_id: str, model: Model, *, asked_ns: int, kept_ns: int, root_version: str = ""
    ) -> str:
        """Keep a model, the first time; return its version.

        Args:
            series_id: What it forecasts, e.g. ``load/homes/north``.
            model: The model.
            asked_ns: Up to when it was asked to be trained.
            kept_ns: Now.
            root_version: What it was before it went on learning; empty for a model fresh from training.

        Raises:
            UnavailableError: when the disk or the database does not take it.
        """
        data = encode_model(model)
        digest = hashlib.sha256(data).hexdigest()
        try:
            self._write(digest, data)
        except OSError as error:
            raise UnavailableError(
                f"the models' folder {self._folder}", error.strerror or str(error)
            ) from error
        row = {
            "version": model.version,
            "series_id": series_id,
            "root_version": root_version or model.version,
            "asked_ns": asked_ns,
            "from_ns": model.from_ns,
            "to_ns": model.to_ns,
            "kept_ns": kept_ns,
            "digest": digest,
            "size_bytes": len(data),
            "scores": msgspec.json.encode(model.scores).decode(),
        }
        with writing(self._engine) as connection:
            connection.execute(insert_into(connection, MODEL).values(row).on_conflict_do_nothing())
        return model.version

    def load(self, version: str) -> Model:
        """Return a model.

        Raises:
            UnknownIdError: when it was never kept.
            CorruptStateError: when its file is gone or does not check out.
        """
        with reading(self._engine) as connection:
            row = connection.execute(select(MODEL.c.digest).where(MODEL.c.version == version)).first()
        if row is None:
            raise UnknownIdError("model", version)
        file = self._file(str(row.digest))
        try:
            data = file.read_bytes()
        except OSError as error:
            raise CorruptStateError(str(file), f"it cannot be read: {error}") from error
        if hashlib.sha256(data).hexdigest() != row.digest:
            raise CorruptStateError(str(file), "its content is not what its name says")
        return decode_model(data)

    def trained(self, series_id: str, asked_ns: int) -> KeptModel | None:
        """Return the model that was trained up to an instant, as it came from training; None when it was not."""
        query = select(MODEL).where(
            MODEL.c.series_id == series_id,
            MODEL.c.asked_ns == asked_ns,
            MODEL.c.version == MODEL.c.root_version,
        )
        with reading(self._engine) as connection:
            row = connection.execute(query.order_by(MODEL.c.kept_ns)).mappings().first()
        return None if row is None else KeptModel(**row)

    def newest(self, root_version: str, *, until_ns: int | None = None) -> KeptModel:
        """Return the state of a model that learned on longest, or longest without having seen past an instant.

        Raises:
            UnknownIdError: when the model was never kept.
        """
        query = select(MODEL).where(MODEL.c.root_version == root_version)
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(MODEL.c.to_ns.desc(), MODEL.c.kept_ns.desc())).mappings()
            states = [KeptModel(**row) for row in rows]
        if not states:
            raise UnknownIdError("model", root_version)
        if until_ns is None:
            return states[0]
        return next((state for state in states if state.to_ns <= until_ns), states[-1])

    def models(self, series_id: str) -> list[KeptModel]:
        """Return the models of a series, the newest first."""
        query = select(MODEL).where(MODEL.c.series_id == series_id)
        with reading(self._engine) as connection:
            rows = connection.execute(
                query.order_by(MODEL.c.asked_ns.desc(), MODEL.c.to_ns.desc())
            ).mappings()
            return [KeptModel(**row) for row in rows]

    def champion(self, series_id: str) -> Promotion | None:
        """Return who is champion, None when nobody is yet."""
        history = self.promotions(series_id)
        return history[0] if history else None

    def promotions(self, series_id: str) -> list[Promotion]:
        """Return who was champion, the newest first."""
        query = select(PROMOTION).where(PROMOTION.c.series_id == series_id)
        with reading(self._engine) as connection:
            return [
                Promotion(**row)
                for row in connection.execute(query.order_by(PROMOTION.c.number.desc())).mappings()
            ]

    def promote(
        self, series_id: str, version: str, *, instead_of: Promotion | None, since_ns: int, reason: str
    ) -> bool:
        """Make a model champion in place of the one given; return False when that one no longer is.

        The contest of the series ends with it.

        Raises:
            UnknownIdError: when the model was never kept.
        """
        number = 1 if instead_of is None else instead_of.number + 1
        row = {"series_id": series_id, "number": number, "version": version}
        row |= {"since_ns": since_ns, "reason": reason}
        with writing(self._engine) as connection:
            if connection.execute(select(MODEL.c.version).where(MODEL.c.version == version)).first() is None:
                raise UnknownIdError("model", version)
            entered = connection.execute(
                insert_into(connection, PROMOTION).values(row).on_conflict_do_nothing()
            )
            if entered.rowcount == 1:
                connection.execute(CONTEST.delete().where(CONTEST.c.series_id == series_id))
            return entered.rowcount == 1

    def contest(self, series_id: str) -> tuple[Contest, int] | None:
        """Return the contest of a series and up to when it was scored; None when there is none."""
        with reading(self._engine) as connection:
            row = connection.execute(select(CONTEST).where(CONTEST.c.series_id == series_id)).first()
        if row is None:
            return None
        return msgspec.json.decode(row.contest, type=Contest), int(row.scored_to_ns)

    def put_contest(self, series_id: str, contest: Contest | None, scored_to_ns: int = 0) -> None:
        """Keep a contest in place of the former; None ends it."""
        with writing(self._engine) as connection:
            if contest is None:
                connection.execute(CONTEST.delete().where(CONTEST.c.series_id == series_id))
                return
            values = {"scored_to_ns": scored_to_ns, "contest": msgspec.json.encode(contest).decode()}
            insert = insert_into(connection, CONTEST).values(series_id=series_id, **values)
            connection.execute(insert.on_conflict_do_update(index_elements=["series_id"], set_=values))

    def _file(self, digest: str) -> Path:
        return self._folder / digest[:2] / f"{digest}.model"

    def _write(self, digest: str, data: bytes) -> None:
        """Write a file under its final name only when it is whole and on the disk."""
        file = self._file(digest)
        if file.is_file() and file.stat().st_size == len(data):
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=".writing-")
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            Path(name).replace(file)
        finally:
            Path(name).unlink(missing_ok=True)
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
