"""Past one plan: traces of a million requests, sweeps on several workers, the operator."""

from __future__ import annotations

import csv
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from guide.spec import load_plan
from guide.spec.digest import inputs_digest
from guide.studies.run import Hire, StudyTask, answers, dask_cluster, processes
from hack.bench.clusters import CATALOG, CHAT, chat, inventory, write_nodes
from hack.bench.measure import GUIDE, MIB, ROOT, Scale, Section, table, timed, warm_s

TRACE_S = 20
FLAT = 1.1  # peak memory of the longest trace over that of the shortest
NEAR_LINEAR = 0.85  # of what the machine gives two processes, which the main one shares


def trace(scale: Scale, folder: Path, installed: Path | None) -> Section:
    """Recorded requests through one layout, ever more of them; compiled, where that is there."""
    program = GUIDE if installed is None else str(installed)
    nodes = write_nodes(folder, 3, 2)
    rows: list[tuple[str, ...]] = []
    peaks: list[int] = []
    last_s = 0.0
    for count in scale.trace:
        path = folder / f"trace-{count}.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(_requests(count))
        words = ["simulate", "-f", str(CHAT), "--nodes", str(nodes), "--trace", str(path)]
        done = timed([program, *words])
        peaks.append(done.peak_bytes)
        last_s = done.cpu_s
        rows.append((f"{count:,}", f"{done.wall_s:.1f}", f"{done.cpu_s:.1f}",
                     f"{done.peak_bytes / MIB:.0f}"))  # fmt: skip
    reading = warm_s(partial(_only_read, folder / f"trace-{scale.trace[-1]}.csv"), 1)
    section = Section("Traces", [], [])
    section.lines += [
        f"`guide simulate --trace`{', compiled' if installed else ''}, the whole process: "
        "planning, reading, simulating, percentiles.",
        "",
        *table(("requests", "wall s", "CPU s", "peak MiB"), rows),
        f"To read the numbers of the longest with `csv` alone takes {reading:.1f} s of CPU.",
    ]
    section.target(
        f"trace of {scale.trace[-1]:,} requests on one core",
        f"< {TRACE_S} s",
        f"{last_s:.1f} s of CPU",
        last_s < TRACE_S,
    )
    section.target(
        "its memory over that of the shortest",
        "the same",
        f"{peaks[-1] / peaks[0]:.2f} x",
        peaks[-1] < FLAT * peaks[0],
    )
    return section


def _requests(count: int) -> Iterator[tuple[object, ...]]:
    """Poisson arrivals at 8 a second, lengths as in the example."""
    yield "arrival_s", "input_tokens", "output_tokens"
    dice, now = Random(0), 0.0
    for _ in range(count):
        now += dice.expovariate(8)
        prompt = min(6000, max(1, int(dice.lognormvariate(6.7, 0.7))))
        yield f"{now:.4f}", prompt, min(2000, max(1, int(dice.lognormvariate(5.2, 0.7))))


def _only_read(path: Path) -> float:
    with path.open(newline="") as file:
        rows = csv.reader(file)
        next(rows)
        return sum(float(row[0]) + int(row[1]) + int(row[2]) for row in rows)


def sweep(scale: Scale) -> Section:
    """The same questions to one worker and to two, in turn."""
    written, found = load_plan(CHAT.read_text(encoding="utf-8")), inventory(30, 2)
    questions: list[StudyTask] = []
    for number in range(scale.questions):
        plan = chat()
        plan = replace(plan, workload=replace(plan.workload, requests_per_s=2 + number / 10))
        digest = f"{number} {inputs_digest(written, plan, found, CATALOG)}"
        questions.append(StudyTask(digest=digest, plan=plan, inventory=found))
    rows: list[tuple[str, ...]] = []
    rates: dict[int, float] = {}

    def serve(what: str, workers: int, hire: Hire) -> float:
        rate, busy = _served(questions, workers, hire)
        rows.append((what, str(workers), f"{rate:.1f}", f"{busy:.2f}", f"{1 - busy / workers:.1%}"))
        return rate

    for workers in (1, 2):
        rates[workers] = serve("processes", workers, processes(workers))
    for workers in scale.dask:
        with _dask(workers) as address:
            serve("Dask", workers, dask_cluster(address))
    ratio = rates[2] / rates[1]
    given = _two_over_one(1.0 if scale.questions > 20 else 0.1)
    section = Section("Sweeps", [], [])
    section.lines += [
        f"`guide sweep`: {len(questions)} questions of 30 pools, after each worker's first answer.",
        "",
        *table(("executor", "workers", "answers/s", "busy at once", "idle"), rows),
        "Idle: of the workers' time, the part in which they answer nothing: what scheduling costs.",
        "Survival of killed workers is tested (`tests/unit/studies/test_studies.py`, `tests/e2e/"
        "test_sweep_dask.py`).",
    ]
    section.lines.insert(
        -1,
        f"Two workers answer {ratio:.2f} times as much as one; at that time the machine did "
        f"{given:.2f} times as much in two busy loops as in one.",
    )
    section.target(
        "two workers against one, of what the machine gives two busy loops",
        f"> {NEAR_LINEAR:g}",
        f"{ratio:.2f} of {given:.2f}",
        ratio > NEAR_LINEAR * given,
    )
    return section


def _served(questions: Sequence[StudyTask], workers: int, hire: Hire) -> tuple[float, float]:
    """Answers a second and workers that answer at once, after the first answer of each."""
    answered = answers(questions, CATALOG, hire)
    for _ in range(workers):  # the first of each waits for its start
        next(answered)
    begin = time.perf_counter()
    busy_s = sum(row["took_s"] for _, row in answered)
    elapsed_s = max(time.perf_counter() - begin, 1e-9)
    return (len(questions) - workers) / elapsed_s, busy_s / elapsed_s


@contextmanager
def _dask(workers: int) -> Generator[str]:
    """A Dask scheduler with so many workers of one thread on this machine; its address."""
    distributed: Any = importlib.import_module("distributed")
    words = {"processes": True, "dashboard_address": None, "threads_per_worker": 1}
    with distributed.LocalCluster(n_workers=workers, **words) as cluster:
        yield cluster.scheduler_address


def _two_over_one(seconds: float) -> float:
    """How much more two busy processes get done than one: 2 on two idle cores."""
    done: dict[int, int] = {}
    for count in (1, 2):
        with ProcessPoolExecutor(count) as pool:
            list(pool.map(_spin, [0.01] * count))  # starts the processes
            done[count] = sum(pool.map(_spin, [seconds] * count))
    return done[2] / done[1]


def _spin(seconds: float) -> int:
    end, turns = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        turns += 1
    return turns


def operator(kubeconfig: str | None) -> Section:
    """From `kubectl apply` to status, beside a handler that does nothing."""
    section = Section("Operator", [], [])
    if kubeconfig is None:
        section.lines.append(
            "No cluster was given, so apply-to-status was not measured: `make bench "
            "CLUSTER=KUBECONFIG` with a cluster that has the CRD and GPU nodes (`python -m "
            "hack.controlplane up --nodes 5` starts one; then apply `crds/`)."
        )
        return section
    words = [sys.executable, "-m", "hack.latency", "--kubeconfig", kubeconfig]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=900, cwd=ROOT)
    found = json.loads(done.stdout[done.stdout.index("{") :])
    rows = [
        (
            f"{start}: {statistic.removesuffix('_s')}",
            f"{each[statistic]['guide'] * 1e3:.0f}",
            f"{each[statistic]['nothing'] * 1e3:.0f}",
        )
        for start, each in found.items()
        for statistic in ("median_s", "p95_s")
    ]
    section.lines += [
        "One plan after the other on a real API server, beside kopf's plainest handler, which only "
        "writes a condition.",
        "",
        *table(("time to status", "GUIDE ms", "do-nothing handler ms"), rows),
    ]
    return section
