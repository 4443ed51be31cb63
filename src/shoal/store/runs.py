"""What the services need after a restart: fencing tokens, the state of each controller, and past workflow runs.

A token grows with every owner. A state is saved only under the newest token, so an owner that was replaced and
does not know it yet cannot overwrite its successor.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import Engine, select

from shoal.domain.errors import FencedOutError, UnknownIdError
from shoal.domain.ids import ResourceId
from shoal.domain.live import WorkflowRun, WorkflowStep
from shoal.store.database import insert_into, reading, writing
from shoal.store.records import ControllerState
from shoal.store.schema import CONTROLLER_STATE, FENCE, WORKFLOW_RUN

_STEPS: Final = msgspec.json.Decoder(list[WorkflowStep])


class Runs:
    """Tokens, controller states and workflow runs in a migrated database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def next_fence(self, issuer: str) -> int:
        """Return a fencing token of the issuer that is larger than every one before; 1 is the first."""
        with writing(self._engine) as connection:
            insert = insert_into(connection, FENCE).values(issuer=issuer, token=1)
            grown = insert.on_conflict_do_update(index_elements=["issuer"], set_={"token": FENCE.c.token + 1})
            return int(connection.execute(grown.returning(FENCE.c.token)).scalar_one())

    def save_state(
        self, resource_id: ResourceId, state: bytes, *, issuer: str, fence: int, saved_ns: int
    ) -> None:
        """Save a controller's state in place of the former.

        Args:
            resource_id: Whose controller.
            state: Its state, as JSON.
            issuer: The name under which the token was drawn.
            fence: The token.
            saved_ns: Now.

        Raises:
            UnknownIdError: when the issuer never drew a token.
            FencedOutError: when a newer token was drawn.
        """
        values = {"issuer": issuer, "fence": fence, "saved_ns": saved_ns, "state": state}
        newest = select(FENCE.c.token).where(FENCE.c.issuer == issuer)
        with writing(self._engine) as connection:
            # The row stays locked to the commit: no newer token is drawn in between.
            token = connection.execute(newest.with_for_update()).scalar_one_or_none()
            if token is None:
                raise UnknownIdError("issuer", issuer)
            if fence != token:
                raise FencedOutError(held=fence, newest=token)
            insert = insert_into(connection, CONTROLLER_STATE).values(resource_id=resource_id, **values)
            connection.execute(insert.on_conflict_do_update(index_elements=["resource_id"], set_=values))

    def load_state(self, resource_id: ResourceId) -> ControllerState | None:
        """Return what the resource's controller saved last, None when nothing."""
        names = ControllerState.__dataclass_fields__
        query = select(*(CONTROLLER_STATE.c[name] for name in names))
        with reading(self._engine) as connection:
            row = connection.execute(query.where(CONTROLLER_STATE.c.resource_id == resource_id)).mappings()
            found = row.first()
        return None if found is None else ControllerState(**found)

    def record_run(self, run: WorkflowRun) -> None:
        """Keep a workflow run, in place of what was known of it before."""
        values: dict[str, Any] = msgspec.structs.asdict(run)
        values["steps"] = msgspec.json.encode(run.steps).decode()
        with writing(self._engine) as connection:
            insert = insert_into(connection, WORKFLOW_RUN).values(values)
            changes = {name: value for name, value in values.items() if name != "workflow_id"}
            connection.execute(insert.on_conflict_do_update(index_elements=["workflow_id"], set_=changes))

    def runs(self, latest: int, *, resource_id: ResourceId | None = None) -> list[WorkflowRun]:
        """Return the latest runs, of one resource or all, the newest first."""
        query = select(WORKFLOW_RUN).order_by(WORKFLOW_RUN.c.started_ns.desc(), WORKFLOW_RUN.c.workflow_id)
        if resource_id is not None:
            query = query.where(WORKFLOW_RUN.c.resource_id == resource_id)
        with reading(self._engine) as connection:
            return [_run(dict(row)) for row in connection.execute(query.limit(latest)).mappings()]

    def run(self, workflow_id: str) -> WorkflowRun | None:
        """Return a run by its id, None when there is none."""
        query = select(WORKFLOW_RUN).where(WORKFLOW_RUN.c.workflow_id == workflow_id)
        with reading(self._engine) as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _run(dict(row))


def _run(values: dict[str, Any]) -> WorkflowRun:
    return WorkflowRun(**{**values, "steps": _STEPS.decode(values["steps"])})
