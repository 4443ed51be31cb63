"""The routes of standing services: what stands, what it does and reached; to change something takes an operator."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from shoal.api.bodies import Body
from shoal.api.contract import answer, answers
from shoal.api.door.rights import acting_operator
from shoal.api.live.state import MS_PER_NS, to_ms
from shoal.api.plant import Plant
from shoal.api.services.answers import ServiceDay, ServiceNow, ServiceView
from shoal.control.standing_asking import check_runnable, kept_service, window_of, window_words
from shoal.domain.errors import UnknownIdError
from shoal.store.standing import FOREVER_NS, StandingService, StandingServices

MAX_REASON_CHARACTERS: Final = 200
MAX_WINDOWS: Final = 50
_LATEST_MS: Final = 2**62 // MS_PER_NS
_ID: Final = "^[A-Za-z0-9][A-Za-z0-9_-]{0,49}$"

ServiceId = Annotated[str, Path(pattern=_ID, description="The service's id.")]
Power = Annotated[float, Field(ge=0, lt=1e8)]


class ServiceAsked(Body):
    """A service that stands from now on; one of the same id that stands is changed."""

    kind: Literal["peak_shaving", "smoothing"]
    group: str
    target_kw: Power = 0.0
    ramp_kw_per_min: Power = 0.0
    measured_group: str = ""
    meter: str = ""
    highest_kw: Power = 0.0
    windows: list[str] = Field(default_factory=list, max_length=MAX_WINDOWS)
    zone: str = Field(default="UTC", max_length=64)
    start_ms: int | None = Field(default=None, ge=0, le=_LATEST_MS)
    end_ms: int | None = Field(default=None, ge=0, le=_LATEST_MS)
    program: str = "peak"
    least_coverage_frac: float = Field(default=0.9, ge=0, le=1)
    reason: str = Field(default="", max_length=MAX_REASON_CHARACTERS)


class ServiceStopped(Body):
    """Why a service is stopped."""

    reason: str = Field(default="", max_length=MAX_REASON_CHARACTERS)


def service_routes(plant: Plant) -> APIRouter:
    """Return the routes; they read and write the database, so they run in threads."""
    router = APIRouter(prefix="/api/services", tags=["services"])
    store, ledger = StandingServices(plant.database), plant.ledger

    def view(service: StandingService) -> ServiceView:
        return service_view(service, kept_service(ledger, service.service_id))

    @router.get("", responses=answers(list[ServiceView], 503))
    def read_services(
        stopped: Annotated[bool, Query(description="Also what is stopped.")] = False,
    ) -> Response:
        """Return the services that stand, by their ids."""
        return answer([view(service) for service in store.services(stopped=stopped)])

    @router.get("/{service_id}", responses=answers(ServiceView, 404, 422, 503))
    def read_service(service_id: ServiceId) -> Response:
        """Return one service."""
        return answer(view(store.service(service_id)))

    @router.put("/{service_id}", responses=answers(ServiceView, 403, 404, 422, 503))
    def put_service(request: Request, service_id: ServiceId, asked: ServiceAsked) -> Response:
        """Let a service stand, or change one that stands; for operators only."""
        by, now_ns = acting_operator(request), plant.now_ns()
        try:
            revision = store.service(service_id).revision + 1
        except UnknownIdError:
            revision = 1
        service = StandingService(
            service_id=service_id,
            kind=asked.kind,
            program=asked.program,
            group=asked.group,
            measured_group=asked.measured_group,
            meter=asked.meter,
            target_kw=asked.target_kw,
            ramp_kw_per_min=asked.ramp_kw_per_min,
            highest_kw=asked.highest_kw,
            windows=tuple(window_of(text) for text in asked.windows),
            zone=asked.zone,
            start_ns=now_ns if asked.start_ms is None else asked.start_ms * MS_PER_NS,
            end_ns=FOREVER_NS if asked.end_ms is None else asked.end_ms * MS_PER_NS,
            least_coverage_frac=asked.least_coverage_frac,
            revision=revision,
            by=by,
            at_ns=now_ns,
            reason=asked.reason,
        )
        check_runnable(service, plant.fleet, plant.programs.book(), now_ns=now_ns)
        return answer(view(store.put(service)))

    @router.post("/{service_id}/stop", responses=answers(ServiceView, 403, 404, 422, 503))
    def stop_service(request: Request, service_id: ServiceId, asked: ServiceStopped) -> Response:
        """Stop a service for good; for operators only."""
        by = acting_operator(request)
        return answer(view(store.stop(service_id, by=by, at_ns=plant.now_ns(), reason=asked.reason)))

    return router


def service_view(service: StandingService, kept: dict[str, Any]) -> ServiceView:
    """Return a service as it is shown."""
    shown, now = kept.get("now"), None
    if shown is not None:
        parts = {**shown["serving"], **shown["measured"], **shown["wish"], **shown}
        now = ServiceNow(**{name: parts[name] for name in ServiceNow.__struct_fields__})
    days = kept.get("tally", {}).get("days", [])
    return ServiceView(
        service_id=service.service_id,
        revision=service.revision,
        kind=service.kind,
        program=service.program,
        group=service.group,
        measured_group=service.measured_group,
        meter=service.meter,
        target_kw=service.target_kw,
        ramp_kw_per_min=service.ramp_kw_per_min,
        windows=tuple(window_words(window) for window in service.windows),
        zone=service.zone,
        start_ms=to_ms(service.start_ns),
        end_ms=None if service.end_ns == FOREVER_NS else to_ms(service.end_ns),
        state=service.state,
        by=service.by,
        at_ms=to_ms(service.at_ns),
        reason=service.reason,
        now=now,
        days=tuple(msgspec.convert(day, ServiceDay) for day in days),
    )
