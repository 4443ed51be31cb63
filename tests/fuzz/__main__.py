"""Feeds the targets for as long as it is told; stops at the first input that shows a fault, and keeps it.

python -m tests.fuzz --minutes 60
python -m tests.fuzz --target frames --executions 100000 --kernels checked
python -m tests.fuzz --target frames --replay build/fuzz/frames-1f0c2a7b
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Hashable, Sequence
from importlib import import_module
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final
from zlib import crc32

if TYPE_CHECKING:
    from tests.fuzz.target import Target

KERNELS: Final = {
    "compiled": {},
    "checked": {"NUMBA_BOUNDSCHECK": "1"},
    "interpreted": {"NUMBA_DISABLE_JIT": "1"},
}
"""How the kernels run: as in the plant; with every index checked; as plain Python, which checks them too."""
_SET: Final = "SHOAL_FUZZ_KERNELS"
_SLICE_S: Final = 5.0
_MOST_KEPT: Final = 2_000
_FRESH_FRAC: Final = 0.2


class Feeder:
    """Feeds one target, and keeps the inputs that made something new happen."""

    def __init__(self, target: Target, *, seed: int, keep: Path) -> None:
        self.target = target
        self.executions = 0
        self._random = Random(f"{seed} {target.name}")
        self._corpus = list(target.seeds)
        self._seen: set[Hashable] = set()
        self._keep = keep

    def feed(self, data: bytes) -> bool:
        """Check one input; return whether it is as it should be."""
        self.executions += 1
        try:
            happened = self.target.check(data)
        except Exception:  # noqa: BLE001 -- whatever it is, it is what is looked for
            self._keep.mkdir(parents=True, exist_ok=True)
            path = self._keep / f"{self.target.name}-{crc32(data):08x}"
            path.write_bytes(data)
            traceback.print_exc()
            sys.stderr.write(f"{self.target.name}: the input is in {path}\n")
            return False
        if happened not in self._seen and len(self._corpus) < _MOST_KEPT:
            self._seen.add(happened)
            self._corpus.append(data)
        return True

    def feed_for(self, duration_s: float, executions: int) -> bool:
        """Check many inputs; return whether all are as they should be."""
        until_s = time.monotonic() + duration_s
        for count in range(executions):
            if count % 16 == 0 and time.monotonic() > until_s:
                break
            pool = self.target.seeds if self._random.random() < _FRESH_FRAC else self._corpus
            if not self.feed(self._changed(self._random.choice(pool))):
                return False
        return True

    def feed_seeds(self) -> bool:
        """Check the inputs that everything begins with."""
        good = [self.feed(seed) for seed in self.target.seeds]
        return all(good)

    def _changed(self, data: bytes) -> bytes:
        from tests.fuzz.target import mutated

        return mutated(data, self._random, self.target.words, self._corpus)

    def describe(self) -> str:
        """Return how far it is."""
        return f"{self.target.name:<10} {self.executions:>12,} executions, {len(self._seen):>5} outcomes"


def main(arguments: Sequence[str]) -> int:
    """Run; return 1 when a fault was found."""
    options = _options(arguments)
    if options.guided:
        options.kernels = "interpreted"
    if os.environ.get(_SET) != options.kernels:
        _again(options.kernels, arguments)
    warnings.simplefilter("error")
    if options.kernels == "interpreted":  # hashes wrap, and outside a kernel numpy would say so
        import numpy as np

        np.seterr(over="ignore")
    if options.guided:
        return _guided(options)
    from tests.fuzz.targets import TARGETS

    names = options.target or [
        target.name for target in TARGETS if not (target.compiled and options.kernels == "interpreted")
    ]
    chosen = [target for target in TARGETS if target.name in names]
    feeders = [Feeder(target, seed=options.seed, keep=options.keep) for target in chosen]
    if options.replay:
        good = [feeder.feed(options.replay.read_bytes()) for feeder in feeders]
        return 0 if all(good) else 1
    good = [feeder.feed_seeds() for feeder in feeders]
    is_good = all(good) and _run(feeders, options)
    sys.stdout.writelines(f"{feeder.describe()}\n" for feeder in feeders)
    return 0 if is_good else 1


def _run(feeders: list[Feeder], options: argparse.Namespace) -> bool:
    until_s = time.monotonic() + 60 * options.minutes if options.minutes else float("inf")
    most = options.executions or (sys.maxsize if options.minutes else 10_000)
    said_s = time.monotonic()
    waiting = feeders
    while waiting and time.monotonic() < until_s:
        for feeder in waiting:
            left_s = min(_SLICE_S, until_s - time.monotonic())
            if not feeder.feed_for(left_s, most - feeder.executions):
                return False
        waiting = [feeder for feeder in waiting if feeder.executions < most]
        if time.monotonic() - said_s > 60:
            said_s = time.monotonic()
            sys.stdout.writelines(f"{feeder.describe()}\n" for feeder in feeders)
            sys.stdout.flush()
    return True


def _guided(options: argparse.Namespace) -> int:
    """Let atheris choose the inputs, by which lines of the plant they reach; it ends the process itself."""
    atheris = import_module("atheris")
    with atheris.instrument_imports(include=["shoal"]):
        from tests.fuzz.targets import TARGETS

    (target,) = (target for target in TARGETS if [target.name] == options.target)
    options.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="shoal-fuzz-") as corpus:
        for number, seed in enumerate(target.seeds):
            Path(corpus, f"seed-{number}").write_bytes(seed)
        words = Path(corpus, "words")
        words.write_text(
            "".join('"' + "".join(f"\\x{byte:02x}" for byte in word[:60]) + '"\n' for word in target.words)
        )
        flags = [
            f"-max_total_time={round(60 * options.minutes)}",
            f"-seed={options.seed + 1}",
            "-max_len=4000",
        ]
        flags += [f"-dict={words}", f"-artifact_prefix={options.keep}/{target.name}-", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *flags, corpus], lambda data: target.check(data) and None)
        atheris.Fuzz()
    return 0


def _again(kernels: str, arguments: Sequence[str]) -> None:
    """Begin again with the kernels as wanted: that is settled when they are first imported."""
    with tempfile.TemporaryDirectory(prefix="shoal-fuzz-") as cache:
        # code with checks must not be taken for code without, nor the other way round
        own = {} if kernels == "compiled" else {"NUMBA_CACHE_DIR": cache}
        environment = {**os.environ, **KERNELS[kernels], **own, _SET: kernels}
        command = [sys.executable, "-m", "tests.fuzz", *arguments]
        sys.exit(os.spawnve(os.P_WAIT, sys.executable, command, environment))


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=0.0, help="for how long, all targets together")
    parser.add_argument("--executions", type=int, default=0, help="how often at most, each target")
    parser.add_argument("--target", action="append", help="only this one; may be repeated")
    parser.add_argument("--kernels", choices=sorted(KERNELS), default="compiled", help="how they are run")
    parser.add_argument("--seed", type=int, default=0, help="another one gives other inputs")
    parser.add_argument(
        "--keep", type=Path, default=Path("build/fuzz"), help="where inputs that show a fault go"
    )
    parser.add_argument("--guided", action="store_true", help="one target, guided by coverage; needs atheris")
    parser.add_argument("--replay", type=Path, help="check this one input")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
