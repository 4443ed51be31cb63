"""One run of the bidding benchmark: a market, two bidders, and somebody who kills, cuts and counts.

market process     gates that close by the shared clock, faults, prices that come late and are corrected
two bidders        one holds the slot of the resource, the other watches it
this process       kill -9 of a bidder now and then, database connections cut; at the end both sides' books are compared
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import httpx
import msgspec
import numpy as np

from shoal.bidding.cycle.climb import Tried
from shoal.cli.benches._bidding_plan import FIVE_NS, PARTICIPANT, RESOURCE, Plan, origin_ns
from shoal.cli.benches._postgres import postgres
from shoal.cli.plant import free_ports
from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_S
from shoal.market.registry import market_module
from shoal.simulate.exchange_book import ExchangeSummary
from shoal.store.cycles import Cycles
from shoal.store.database import migrate, open_database

DAY: Final = date(2024, 12, 5)
TOKEN: Final = "bench"
LEAD_S: Final = 900.0
START_TIMEOUT_S: Final = 60.0
KILL_EVERY_S: Final = 25.0
CUT_EVERY_S: Final = 17.0
REST_S: Final = 2.0
START_S: Final = 8.0
STOP_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What came of a run.

    Attributes:
        market: The market's own account.
        wall_s: From the first gate to the last.
        rungs: How often each rung held.
        reasons: Why better rungs did not, by kind.
        states: How the plant's bids ended.
        believed_wrong: Bids of which plant and market believe different things.
        refused_though_valid: Bids that the plant's own rules let pass and the market's refused for what they were.
        kills: How often a bidder was killed.
        cuts: How often the database's connections were cut.
        taken_over: How often one bidder took over from another.
        decisions: How many were made.
        decided_p99_s: The 99th percentile of what the rung that held took.
        database: Which one.
    """

    market: ExchangeSummary
    wall_s: float
    rungs: dict[str, int]
    reasons: dict[str, int]
    states: dict[str, int]
    believed_wrong: int
    refused_though_valid: int
    kills: int
    cuts: int
    taken_over: int
    decisions: int
    decided_p99_s: float
    database: str


def run_gates(*, gates: int, speed: float, hostile: bool, seed: int = 1) -> Seen:
    """Run until so many gates of intervals have closed, and compare the books.

    Args:
        gates: Five-minute gates.
        speed: Plant seconds in a second.
        hostile: Whether anything goes wrong on purpose.
        seed: Of everything that is drawn.
    """
    market = market_module("nem")
    daily = market.gates("energy", DAY)[0]
    first_ns = market.gates("energy", DAY)[1].closes_ns
    last_ns = first_ns + gates * FIVE_NS
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shoal-bench-bidding-")))
        database, url, workflows = _databases(stack, folder)
        migrate(url)
        plan = Plan(
            folder=str(folder),
            port=free_ports(1)[0],
            token=TOKEN,
            database_url=url,
            workflows_url=workflows,
            origin_ns=origin_ns(gate_ns=daily.closes_ns),
            since_ns=time.time_ns(),
            speed=speed,
            days=(gates * FIVE_NS) // (24 * 3_600 * NS_PER_S) + 3,
            lead_s=LEAD_S,
            seed=seed,
            hostile=hostile,
        )
        return _drive(stack, plan, folder / "plan.json", last_ns, database)


def _drive(stack: ExitStack, plan: Plan, file: Path, last_ns: int, database: str) -> Seen:
    rng = np.random.default_rng(plan.seed)
    # the first gate is some hours of plant time away from when the processes are likely to be up
    plan = msgspec.structs.replace(plan, since_ns=time.time_ns() + int(START_S * NS_PER_S))
    file.write_bytes(msgspec.json.encode(plan))
    market = stack.enter_context(_process("_bidding_market", file))
    clock = plan.clock()
    bidders = _Bidders(stack, file)
    bidders.start()
    bidders.start()
    _wait_market(plan, market)
    began_s = time.monotonic()
    kill_s, cut_s, cuts = began_s + KILL_EVERY_S, began_s + CUT_EVERY_S, 0
    while clock.now_ns() < last_ns:
        time.sleep(0.2)
        now_s = time.monotonic()
        if plan.hostile and now_s >= kill_s:
            bidders.kill_one(int(rng.integers(2)))
            kill_s = now_s + KILL_EVERY_S * float(rng.uniform(0.6, 1.4))
        if plan.hostile and now_s >= cut_s:
            cuts += _cut(plan)
            cut_s = now_s + CUT_EVERY_S * float(rng.uniform(0.6, 1.4))
        bidders.start_missing(REST_S)
    wall_s = time.monotonic() - began_s
    time.sleep(REST_S)
    account = _summary(plan)
    bidders.stop()
    return _compared(plan, account, bidders, wall_s=wall_s, cuts=cuts, database=database)


class _Bidders:
    """Two bidder processes, each under a new name at every start."""

    def __init__(self, stack: ExitStack, file: Path) -> None:
        self._stack = stack
        self._file = file
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._dead_since_s: list[float] = []
        self.names: list[str] = []
        self.kills = 0

    def start(self) -> None:
        name = f"bidder-{len(self.names) + 1}"
        self.names.append(name)
        self._running.append((name, self._stack.enter_context(_process("_bidding_bidder", self._file, name))))

    def kill_one(self, number: int) -> None:
        if len(self._running) < 2:
            return  # one at a time: somebody has to be there
        _, process = self._running.pop(number)
        process.kill()
        process.wait()
        self.kills += 1
        self._dead_since_s.append(time.monotonic())

    def start_missing(self, after_s: float) -> None:
        for name, process in list(self._running):
            if process.poll() is not None:
                self._running.remove((name, process))
                self._dead_since_s.append(time.monotonic())
        due = [since for since in self._dead_since_s if time.monotonic() - since >= after_s]
        for since in due:
            self._dead_since_s.remove(since)
            self.start()

    def stop(self) -> None:
        for _, process in self._running:
            process.send_signal(signal.SIGTERM)
        for _, process in self._running:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def _process(module: str, file: Path, *others: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", f"shoal.cli.benches.{module}", str(file), *others]
    log = file.with_name(f"{module}-{'-'.join(others)}.log")
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _databases(stack: ExitStack, folder: Path) -> tuple[str, str, str]:
    """Return a name, the plant's database and the workflow engine's: PostgreSQL where there is one, else SQLite."""
    try:
        url = stack.enter_context(postgres())
    except UnavailableError:
        return "SQLite", f"sqlite:///{folder / 'plant.db'}", f"sqlite:///{folder / 'workflows.db'}"
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE plant")
        connection.execute("CREATE DATABASE workflows")
    base = url.rsplit("/", 1)[0]
    return "PostgreSQL", f"{base}/plant", f"{base}/workflows"


def _cut(plan: Plan) -> int:
    """Cut every connection to both databases; return 1 when there was something to cut."""
    if not plan.database_url.startswith("postgresql"):
        return 0
    import psycopg

    maintenance = plan.database_url.rsplit("/", 1)[0] + "/postgres"
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ('plant', 'workflows')"
        )
    return 1


def _wait_market(plan: Plan, market: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until_s and market.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{plan.port}/healthz", timeout=1.0, trust_env=False)
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise UnavailableError("market", "it did not start")


def _summary(plan: Plan) -> ExchangeSummary:
    answer = httpx.get(
        f"http://127.0.0.1:{plan.port}/summary",
        headers={"Authorization": f"Bearer {plan.token}"},
        timeout=60.0,
        trust_env=False,
    )
    return msgspec.json.decode(answer.content, type=ExchangeSummary)


def _compared(
    plan: Plan, account: ExchangeSummary, bidders: _Bidders, *, wall_s: float, cuts: int, database: str
) -> Seen:
    from shoal.simulate.exchange_book import ExchangeBook, Participant
    from shoal.simulate.exchange_tape import Corrections, Publisher

    market = market_module("nem")
    resource = Participant(
        resource_id=RESOURCE, settlement_point="VIC1", participant=PARTICIPANT, product="energy"
    )
    book = ExchangeBook(
        market,
        path=Path(plan.folder) / "market.db",
        resources=[resource],
        publisher=Publisher([], Corrections()),
        since_ns=plan.origin_ns,
    )
    engine = open_database(plan.database_url)
    cycles = Cycles(engine)
    states: Counter[str] = Counter()
    wrong = refused = 0
    for record in cycles.bids(resource_id=RESOURCE):
        states[record.state] += 1
        held = book.receipt(record.bid.idempotency_key, participant=PARTICIPANT)
        at_market = held is not None and held.state == "accepted"
        believed = record.state in {"accepted", "superseded"}
        # an outcome that is still open is no belief
        wrong += record.state not in {"unknown", "submitted"} and at_market != believed
        refused += (
            held is not None
            and held.state == "rejected"
            and held.reason not in {"market_busy", "gate_closed"}
        )
    book.close()
    decisions = cycles.decisions(RESOURCE, from_ns=0, to_ns=2**62)
    rungs: Counter[str] = Counter(one.rung for one in decisions)
    reasons: Counter[str] = Counter()
    took: list[float] = []
    for one in decisions:
        tried = msgspec.json.decode(one.tried.encode(), type=list[Tried])
        took.append(tried[-1].took_s)
        for failed in tried[:-1]:
            kind = re.sub(r"[0-9][0-9TZ:.\-]*", "n", failed.outcome)
            reasons[f"{failed.rung}: {kind[:110]}"] += 1
    taken = 0
    for name in bidders.names:
        file = Path(plan.folder) / f"{name}.json"
        if file.exists():
            taken += int(msgspec.json.decode(file.read_bytes())["taken_over"])
    engine.dispose()
    return Seen(
        market=account,
        wall_s=wall_s,
        rungs=dict(rungs),
        reasons=dict(reasons.most_common()),
        states=dict(states),
        believed_wrong=wrong,
        refused_though_valid=refused,
        kills=bidders.kills,
        cuts=cuts,
        taken_over=taken,
        decisions=len(decisions),
        decided_p99_s=float(np.quantile(took, 0.99)) if took else 0.0,
        database=database,
    )
