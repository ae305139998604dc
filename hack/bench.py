"""Wall time, memory and rates of the engine, as ratios taken in one run: ``make bench``.

Whole processes are timed by `resource.getrusage` of the finished child, several times, and the
median is kept; rates are measured in this process. With ``--peer`` the same question goes to
``aiconfigurator cli default`` if that command is installed, in turn with ours.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from guide import __version__
from guide.answer import SchedulerPolicy
from guide.catalog import find_gpu, load
from guide.domain import Catalog, Scheduling
from guide.models.precision import PRECISIONS
from guide.perf.fits import resolve
from guide.perf.ops import Layout
from guide.perf.step import StepParams, fold
from guide.simulate.cost import LayoutCost
from guide.simulate.replica import NEVER, Replica

ROOT = Path(__file__).parents[1]
GUIDE = Path(sys.executable).with_name("guide")
PLAN = ["plan", "-f", "examples/chat.yaml", "--nodes", "examples/nodes.yaml"]
PEER = [
    *(
        "cli",
        "default",
        "--model-path",
        "Qwen/Qwen3-32B",
        "--total-gpus",
        "16",
        "--system",
        "h100_sxm",
    ),
    *("--backend", "vllm", "--isl", "3000", "--osl", "300", "--ttft", "1000", "--tpot", "50"),
]
RUNS = 5
REQUESTS = 100_000


@dataclass(frozen=True, slots=True)
class Timed:
    """One finished process: seconds by the clock, CPU seconds, peak resident bytes."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def timed(command: list[str]) -> Timed:
    """Run a command from the root of the repository and account for it."""
    start = time.perf_counter()
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        | {"HF_HUB_OFFLINE": "1"},  # the peer ships the configs of its models
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return Timed(
        wall_s=time.perf_counter() - start,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_bytes=usage.ru_maxrss * 1024,
    )


def median(command: list[str], runs: int = RUNS) -> Timed:
    """The median of several runs, after one that warms caches."""
    timed(command)
    found = [timed(command) for _ in range(runs)]
    return Timed(
        wall_s=statistics.median(t.wall_s for t in found),
        cpu_s=statistics.median(t.cpu_s for t in found),
        peak_bytes=int(statistics.median(t.peak_bytes for t in found)),
    )


def _cost(catalog: Catalog) -> LayoutCost:
    gpu = find_gpu(catalog, "H100-SXM")
    assert gpu is not None
    model, precision = catalog.models["meta-llama/Llama-3.1-8B-Instruct"], PRECISIONS["bf16"]
    fit = resolve(catalog, gpu, "vLLM", "0.33.0", precision, model).values
    params = StepParams(**{name: fit[name] for name in StepParams._fields})
    return LayoutCost(fold(model, gpu, precision, Layout()), params)


def simulated(catalog: Catalog, users: int, output_tokens: int) -> tuple[float, float]:
    """Requests and tokens simulated per second: a closed loop through one replica."""
    policy = SchedulerPolicy(
        scheduling=Scheduling.TOKEN_BUDGET,
        max_num_seqs=1024,
        token_budget=8192,
        block_tokens=16,
        kv_blocks=1_000_000,
    )
    arrivals = [0.0] * users + [NEVER] * (REQUESTS - users)
    outputs = [output_tokens + i % 16 for i in range(REQUESTS)]
    replica = Replica(
        policy, _cost(catalog), [1024] * REQUESTS, outputs, arrivals, closed_users=users
    )
    start = time.perf_counter()
    replica.run()
    seconds = time.perf_counter() - start
    return REQUESTS / seconds, (REQUESTS * 1024 + sum(outputs)) / seconds


def predictions_per_s() -> float:
    """Rows of the open measurements predicted per second by one `guide predict` process."""
    source = ROOT / "tests/accuracy/data/measurements.csv"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.csv"
        run = median([str(GUIDE), "predict", "--csv", str(source), "--out", str(out)], runs=1)
        rows = len(out.read_text(encoding="utf-8").splitlines()) - 1
    return rows / run.wall_s


def report(say: Callable[[str], None], peer: bool) -> None:
    """Measure and print everything."""
    catalog = load()
    say(f"guide {__version__}, Python {platform.python_version()}, {os.cpu_count()} cores\n")
    nothing = median([sys.executable, "-c", "pass"])
    say("| whole process | wall s | CPU s | peak MiB | x an empty Python |\n|---|---|---|---|---|")
    cases = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "guide --help": [str(GUIDE), "--help"],
        "guide plan (3 pools)": [str(GUIDE), *PLAN],
    }
    program = shutil.which("aiconfigurator")
    if peer and program:
        cases["aiconfigurator cli default"] = [program, *PEER]
    for name, command in cases.items():
        run = median(command)
        say(
            f"| {name} | {run.wall_s:.2f} | {run.cpu_s:.2f} | {run.peak_bytes / 2**20:.0f}"
            f" | {run.cpu_s / nothing.cpu_s:.1f} |"
        )
    if peer and not program:
        say("\naiconfigurator is not installed: no comparison.")
    say("\n| rate | per second |\n|---|---|")
    say(f"| predictions of measured rows | {predictions_per_s():,.0f} |")
    for users, tokens in ((8, 256), (512, 256), (512, 2048)):
        requests, total = simulated(catalog, users, tokens)
        what = f"{users} users, {tokens} tokens out"
        say(f"| simulated requests, {what} | {requests:,.0f} |")
        say(f"| simulated tokens, {what} | {total:,.0f} |")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--peer", action="store_true", help="compare with aiconfigurator")
    report(print, parser.parse_args().peer)


if __name__ == "__main__":
    main()
