"""What a measurement is: a finished process, or a call that is repeated."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = str(Path(sys.executable).with_name("guide"))
MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured: all of it, or just enough to see that it works."""

    runs: int = 7  # of a process, after one that warms caches
    pools: tuple[int, ...] = (3, 30, 300)
    nodes: tuple[int, ...] = (10, 100, 1000)  # of each pool
    requests: int = 100_000
    trace: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    questions: int = 100
    dask: tuple[int, ...] = (2, 8)  # workers
    what_ifs: int = 36
    what_if_turns: int = 3
    types: int = 24  # of GPUs
    compiled: bool = True  # measure the compiled wheel too
    peer_runs: int = 3


QUICK = Scale(
    runs=1, pools=(3,), nodes=(2, 4), requests=300, trace=(50, 100), questions=6, peer_runs=1,
    dask=(1,), what_ifs=2, what_if_turns=1, types=3, compiled=False,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Timed:
    """A finished process: seconds by the clock, CPU seconds, peak resident bytes."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


# Linux counts the memory of the process that forked towards the peak of its child, so a small
# one starts the command and reports on it.
_LAUNCHER = """
import os, sys, time
sink = os.open(os.devnull, os.O_WRONLY)
quiet = [(os.POSIX_SPAWN_DUP2, sink, 1), (os.POSIX_SPAWN_DUP2, sink, 2)]
begin = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(child, 0)
wall_s = time.perf_counter() - begin
print(os.waitstatus_to_exitcode(status), wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
"""


def timed(command: Sequence[str]) -> Timed:
    """Run a command from the root of the repository and account for it.

    `RuntimeError` where it fails.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        env=environment | {"HF_HUB_OFFLINE": "1"},  # the peers ship the configs of their models
    )
    code, wall_s, cpu_s, peak_kib = map(float, done.stdout.split())
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with exit code {code:.0f}")
    return Timed(wall_s, cpu_s, int(peak_kib) * 1024)


def in_turn(commands: dict[str, Sequence[str]], runs: int) -> dict[str, list[Timed]]:
    """Several runs of each command after one that warms caches. They take turns, so that a slow
    minute of the machine strikes all alike: what ran in the same turn may be compared.
    """
    for command in commands.values():
        timed(command)
    found: dict[str, list[Timed]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            found[name].append(timed(command))
    return found


def median(runs: Sequence[Timed]) -> Timed:
    """The median of each figure of several runs."""
    return Timed(
        statistics.median(t.wall_s for t in runs),
        statistics.median(t.cpu_s for t in runs),
        int(statistics.median(t.peak_bytes for t in runs)),
    )


def warm_s(work: Callable[[], object], runs: int) -> float:
    """Median CPU seconds of a call in this process, after one that warms caches."""
    work()
    taken: list[float] = []
    for _ in range(runs):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    return statistics.median(taken)


@dataclass(slots=True)
class Section:
    """A part of the document: what was measured, as lines of Markdown, and the targets it bears
    on.
    """

    title: str
    lines: list[str]
    targets: list[tuple[str, str, str, bool]]  # what, target, measured, whether it is met
    ratios: dict[str, list[float]] = field(default_factory=dict[str, list[float]])  # by turn

    def ratio(self, what: str, over: Sequence[Timed], under: Sequence[Timed]) -> float:
        """Enter how many times as long one command took as another, for each turn; the median."""
        self.ratios[what] = [a.wall_s / b.wall_s for a, b in zip(over, under, strict=True)]
        return statistics.median(self.ratios[what])

    def spread(self, what: str) -> str:
        """A ratio in words: the median, the least and the greatest."""
        found = self.ratios[what]
        return f"{statistics.median(found):.1f} x ({min(found):.1f} to {max(found):.1f})"

    def target(self, what: str, wanted: str, measured: str, met: bool) -> None:
        """Enter a target."""
        self.targets.append((what, wanted, measured, met))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table: the first column on the left, numbers on the right."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]
