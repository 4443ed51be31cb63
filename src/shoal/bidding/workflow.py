"""The durable workflow of one bid: gather, make, record, submit, confirm.

DBOS keeps the result of each finished step, so a process that dies goes on with the step it was in. A step may then run
twice; that does no harm, since the bid's idempotency key is a function of the resource and the day, and an unknown outcome is
always read back before anything is sent again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import msgspec
import numpy as np
from dbos import DBOS, DBOSConfiguredInstance, SetWorkflowID
from numpy.typing import NDArray

from shoal.bidding.offer import carry_forward
from shoal.bidding.rungs import BidInputs, StoredForecast, make_bid
from shoal.connect.market_http import MarketGateway
from shoal.domain.clock import Clock
from shoal.domain.errors import GateClosedError, InvalidInputError, UnavailableError, UnknownIdError
from shoal.domain.fleet import Fleet, Resource
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.domain.live import WorkflowRun, WorkflowStep
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.twins import FleetView
from shoal.flow.retry import Backoff, Retry
from shoal.market.registry import market
from shoal.market.types import AwardedInterval, Bid, BidReceipt
from shoal.optimise.aggregate import fleet_storage
from shoal.store.ledger import Ledger
from shoal.store.records import BidRecord, ForecastRecord

HISTORY_DAYS: Final = 120
SUBMIT_TRIES: Final = 5
SUBMIT_BACKOFF: Final = Backoff(first_s=0.1, cap_s=1.0)
POLL_S: Final = 0.1
STEP_TRIES: Final = 4
STEP_REST_S: Final = 0.5
"""A store that is locked for a moment must not end the workflow: its end is final. Every step may run again."""

ENERGY_MARGIN_FRAC: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class BidOptions:
    """Settings of the market cycle; budgets in seconds of wall time."""

    forecast_budget_s: float
    optimise_budget_s: float
    submit_budget_s: float
    availability_frac: float
    fresh_timeout_s: float


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The resource as measured when its bid is made; energies above the reserve are worked out later."""

    t_ns: int
    energy_kwh: list[float]
    silent: int


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, UnavailableError)


_step: Final = DBOS.step(
    retries_allowed=True,
    max_attempts=STEP_TRIES,
    interval_seconds=STEP_REST_S,
    should_retry=_may_pass,
)


@DBOS.dbos_class()
class BidWorkflow(DBOSConfiguredInstance):
    """Makes and places bids; one instance a process.

    Args:
        fleet: The fleet as registered.
        clock: The plant's clock.
        ledger: Where prices, forecasts, bids and runs are kept.
        gateway: The way to the market.
        view: Asks the twins; called from worker threads.
        publish_run: Tells everybody how a run stands; called from worker threads.
        options: Settings.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        clock: Clock,
        ledger: Ledger,
        gateway: MarketGateway,
        view: Callable[[], FleetView],
        publish_run: Callable[[WorkflowRun], None],
        options: BidOptions,
    ) -> None:
        super().__init__(config_name="bid")
        self._fleet = fleet
        self._clock = clock
        self._ledger = ledger
        self._gateway = gateway
        self._view = view
        self._publish_run = publish_run
        self._options = options
        self._resources = {str(r.resource_id): r for r in fleet.resources}

    def coverage_frac(self, resource_id: str) -> float:
        """Return the share of the resource's energy capacity that reports fresh now."""
        rows, fresh, _ = self._measure(self._resource(resource_id), self._clock.now_ns())
        capacity = self._fleet.nameplate[rows]["energy_capacity_kwh"]
        return float(capacity[fresh].sum() / max(float(capacity.sum()), 1e-9))

    def bring(self, resource_id: str, delivery_date: str) -> str:
        """Have the resource's bid placed, once, whoever asks and however often; return its status.

        While the outcome is unknown, asking again reads it back from the market.
        """
        with SetWorkflowID(bid_workflow_id(resource_id, delivery_date)):
            handle = DBOS.start_workflow(self.place, resource_id, delivery_date)
        status = handle.get_result(polling_interval_sec=POLL_S)
        return self.resolve(resource_id, delivery_date) if status == "unknown" else status

    def resolve(self, resource_id: str, delivery_date: str) -> str:
        """Bring the bid that was recorded to the market, which does no harm when it is there already."""
        resource = self._resource(resource_id)
        record = self._ledger.bid(_bid_key(resource_id, delivery_date))
        if record.receipt is not None:
            return record.receipt.status
        run = self._ledger.run(bid_workflow_id(resource_id, delivery_date))
        return self._submit(resource, record, [] if run is None else run.steps)

    @DBOS.workflow()
    def place(self, resource_id: str, delivery_date: str) -> str:
        """Place the resource's bid for the day; return its final status."""
        gathered = self.gather(resource_id, delivery_date)
        made = self.make(resource_id, delivery_date, gathered)
        return self.submit(resource_id, delivery_date, made)

    @_step
    def gather(self, resource_id: str, delivery_date: str) -> str:
        """Measure the resource and note the instant; the result is what the bid will be made from."""
        resource = self._resource(resource_id)
        started_ns = self._clock.now_ns()
        self._note(resource, delivery_date, started_ns, status="gathering")
        rows, fresh, latest = self._measure(resource, started_ns)
        capacity = self._fleet.nameplate[rows]["energy_capacity_kwh"]
        reserve = self._fleet.nameplate[rows]["reserve_frac"]
        # a silent site leaves the committed energy: it counts as standing at its reserve
        energy = np.where(fresh, latest["soc_frac"].astype(np.float64), reserve) * capacity
        measured = Measured(t_ns=started_ns, energy_kwh=energy.tolist(), silent=int((~fresh).sum()))
        return msgspec.json.encode(measured).decode()

    @_step
    def make(self, resource_id: str, delivery_date: str, gathered: str) -> str:
        """Make the bid on the best rung that holds and record it; return its key."""
        resource = self._resource(resource_id)
        measured = msgspec.json.decode(gathered, type=Measured)
        key = _bid_key(resource_id, delivery_date)
        if self._recorded(key) is not None:
            return key  # a predecessor died between recording it and saying so: its bid stands
        climbed = make_bid(
            lambda: self._inputs(resource, delivery_date, measured),
            forecast_budget_s=self._options.forecast_budget_s,
            optimise_budget_s=self._options.optimise_budget_s,
        )
        workflow_id = bid_workflow_id(resource_id, delivery_date)
        if climbed.rung == "fresh" and climbed.value.forecast is not None:
            forecast = climbed.value.forecast
            self._ledger.record_forecast(
                ForecastRecord(
                    workflow_id=workflow_id,
                    resource_id=resource.resource_id,
                    settlement_point=resource.settlement_point,
                    delivery_date=delivery_date,
                    issued_ns=forecast.issued_ns,
                    model=forecast.model,
                    payload=msgspec.json.encode(forecast),
                )
            )
        bid = Bid(
            idempotency_key=key,
            resource_id=resource_id,
            market_id=resource.market_id,
            settlement_point=resource.settlement_point,
            delivery_date=delivery_date,
            revision=1,
            orders=climbed.value.orders,
        )
        self._ledger.record_bid(bid, rung=climbed.rung, rung_reason=climbed.reason, created_ns=measured.t_ns)
        steps = [
            WorkflowStep(name=name, took_s=took, outcome=climbed.outcome[name])
            for name, took in climbed.took_s.items()
        ]
        self._note(
            resource,
            delivery_date,
            measured.t_ns,
            status="made",
            rung=climbed.rung,
            reason=climbed.reason,
            steps=steps,
        )
        return key

    @_step
    def submit(self, resource_id: str, delivery_date: str, key: str) -> str:
        """Bring the bid to the market before its gate; return ``accepted``, ``rejected``, ``missed`` or ``unknown``."""
        run = self._ledger.run(bid_workflow_id(resource_id, delivery_date))
        steps = [] if run is None else run.steps
        return self._submit(self._resource(resource_id), self._ledger.bid(key), steps)

    def _submit(self, resource: Resource, record: BidRecord, steps: list[WorkflowStep]) -> str:
        bid = record.bid
        gate_ns = market(resource.market_id).gate_ns(date.fromisoformat(bid.delivery_date))
        started = time.perf_counter()
        receipt, status = self._deliver(bid, gate_ns)
        if receipt is not None:
            self._ledger.mark_bid(bid.idempotency_key, "submitted", at_ns=receipt.received_ns)
            self._ledger.record_receipt(receipt)
        elif status == "unknown":
            self._ledger.mark_bid(bid.idempotency_key, "unknown", at_ns=self._clock.now_ns())
        took_s = time.perf_counter() - started
        said = f": {receipt.reason} {receipt.detail}" if receipt is not None and receipt.reason else ""
        self._note(
            resource,
            bid.delivery_date,
            record.created_ns,
            status=status,
            rung=record.rung,
            reason=record.rung_reason,
            steps=[*steps, WorkflowStep(name="submit", took_s=took_s, outcome=f"{status}{said}")],
            finished=True,
        )
        return status

    def _deliver(self, bid: Bid, gate_ns: int) -> tuple[BidReceipt | None, str]:
        """Submit until the market's answer is known, reading back before every repetition."""

        def once() -> BidReceipt:
            receipt = self._gateway.receipt(bid.idempotency_key)
            if receipt is None:
                if self._clock.now_ns() >= gate_ns:
                    raise GateClosedError(gate_ns=gate_ns, now_ns=self._clock.now_ns())
                receipt = self._gateway.submit(bid)
            return receipt

        retry = Retry(backoff=SUBMIT_BACKOFF, tries=SUBMIT_TRIES, budget_s=self._options.submit_budget_s)
        try:
            receipt = retry.call_blocking(once)
        except UnavailableError:
            return None, "unknown"
        except GateClosedError:
            return None, "missed"
        except InvalidInputError:
            return None, "rejected"
        return receipt, receipt.status

    def _measure(
        self, resource: Resource, now_ns: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[Any]]:
        """Return the resource's rows, which of them are fresh, and their latest records."""
        rows = self._fleet.battery_rows_in(resource.group_id)
        try:
            latest = self._view().latest[rows]
        except UnavailableError:
            latest = TELEMETRY.empty(len(rows))  # the twins are away: a bid must stand all the same
        oldest_ns = now_ns - int(self._options.fresh_timeout_s * NS_PER_S)
        return rows, (latest["ts_ns"] > 0) & (latest["ts_ns"] >= oldest_ns), latest

    def _inputs(self, resource: Resource, delivery_date: str, measured: Measured) -> BidInputs:
        rules = market(resource.market_id)
        day = date.fromisoformat(delivery_date)
        intervals = rules.delivery_intervals(day)
        rows = self._fleet.battery_rows_in(resource.group_id)
        plate = self._fleet.nameplate[rows]
        storage = fleet_storage(
            energy_kwh=np.array(measured.energy_kwh),
            energy_capacity_kwh=plate["energy_capacity_kwh"],
            reserve_frac=plate["reserve_frac"],
            charge_limit_kw=plate["charge_limit_kw"],
            discharge_limit_kw=plate["discharge_limit_kw"],
            charge_efficiency_frac=plate["charge_efficiency_frac"],
            discharge_efficiency_frac=plate["discharge_efficiency_frac"],
            availability_frac=self._options.availability_frac if len(rows) > 1 else 1.0,
            energy_margin_frac=ENERGY_MARGIN_FRAC,
            throughput_cost_per_mwh=resource.throughput_cost_per_mwh,
        )
        start_ns, price = self._ledger.prices(
            resource.settlement_point,
            from_ns=measured.t_ns - HISTORY_DAYS * 24 * NS_PER_HOUR,
            to_ns=intervals[0].start_ns,
            as_of_ns=measured.t_ns,
        )
        return BidInputs(
            market=rules,
            delivery_date=delivery_date,
            intervals=intervals,
            history_start_ns=start_ns,
            history_price_per_mwh=price,
            storage=carry_forward(
                storage,
                self._commitments(resource, measured.t_ns, intervals[0].start_ns),
                now_ns=measured.t_ns,
            ),
            older=self._older_forecast(resource, measured.t_ns),
            now_ns=measured.t_ns,
            settlement_point=resource.settlement_point,
        )

    def _commitments(self, resource: Resource, from_ns: int, to_ns: int) -> list[AwardedInterval]:
        start_ns, end_ns, energy_wh, price = self._ledger.award_energy(resource.resource_id, from_ns, to_ns)
        return [
            AwardedInterval(start_ns=int(s), end_ns=int(e), energy_wh=int(w), price_per_mwh=float(p))
            for s, e, w, p in zip(start_ns, end_ns, energy_wh, price, strict=True)
        ]

    def _recorded(self, idempotency_key: str) -> BidRecord | None:
        try:
            return self._ledger.bid(idempotency_key)
        except UnknownIdError:
            return None

    def _older_forecast(self, resource: Resource, as_of_ns: int) -> StoredForecast | None:
        record = self._ledger.latest_forecast(resource.settlement_point, as_of_ns=as_of_ns)
        return None if record is None else msgspec.json.decode(record.payload, type=StoredForecast)

    def _resource(self, resource_id: str) -> Resource:
        resource = self._resources.get(resource_id)
        if resource is not None:
            return resource
        raise InvalidInputError(field="resource_id", value=resource_id, fix="register the resource first")

    def _note(self, resource: Resource, delivery_date: str, at_ns: int, **what: Any) -> None:
        run = WorkflowRun(
            workflow_id=bid_workflow_id(resource.resource_id, delivery_date),
            kind="bid",
            resource_id=resource.resource_id,
            delivery_date=delivery_date,
            gate_ns=market(resource.market_id).gate_ns(date.fromisoformat(delivery_date)),
            started_ns=at_ns,
            finished_ns=self._clock.now_ns() if what.get("finished") else None,
            status=what["status"],
            rung=what.get("rung", ""),
            rung_reason=what.get("reason", ""),
            steps=what.get("steps", []),
        )
        self._ledger.record_run(run)
        self._publish_run(run)


def _bid_key(resource_id: str, delivery_date: str) -> str:
    return f"{bid_workflow_id(resource_id, delivery_date)}-r1"


def bid_workflow_id(resource_id: str, delivery_date: str) -> str:
    """Return the workflow's id: one bid a resource and day."""
    return f"bid-{resource_id}-{delivery_date}"
