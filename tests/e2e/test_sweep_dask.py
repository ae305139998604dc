"""`guide sweep --scheduler` on a real Dask scheduler and workers, started as the manifest does."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

import guide
from guide.cli.app import app
from guide.errors import ClusterError
from guide.studies.run import answers, dask_cluster
from hack.ports import free_port
from tests.studies import CATALOG, deadly, questions, write

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = yaml.safe_load((ROOT / "docs/sweep/dask-cluster.yaml").read_text(encoding="utf-8"))
PROGRAMS = Path(sys.executable).parent


def command(part: str) -> list[str]:
    (container,) = MANIFEST["spec"][part]["spec"]["containers"]
    program, *words = container["command"]
    return [str(PROGRAMS / program), *words]


@contextmanager
def running(
    words: list[str], folder: Path, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        words,
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=30)


@contextmanager
def scheduler_in(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A scheduler without workers: its address and its process."""
    port = free_port()
    words = [*command("scheduler"), "--port", str(port), "--dashboard-address", ":0"]
    with running(words, folder) as process:
        for _ in range(300):
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            time.sleep(0.1)
        yield f"tcp://127.0.0.1:{port}", process


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler for all tests."""
    with scheduler_in(tmp_path_factory.mktemp("scheduler")) as (address, _):
        yield address


@contextmanager
def worker(address: str, folder: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    words = [word.replace("$(DASK_WORKER_NAME)", name) for word in command("worker")]
    with running(words, folder, DASK_SCHEDULER_ADDRESS=address) as process:
        yield process


def test_the_command_asks_the_workers(scheduler: str, tmp_path: Path):
    write(tmp_path)
    words = [
        *(sys.executable, "-m", "guide", "sweep", "-f", "study.yaml", "--nodes", "nodes.yaml"),
        *("--out", "r.parquet", "--scheduler", scheduler),
    ]
    with worker(scheduler, tmp_path, "only"):
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "6 questions: 3 feasible, 3 infeasible. Wrote r.parquet." in done.stdout
    rows = pq.read_table(tmp_path / "r.parquet").to_pylist()
    assert [row["spec.workload.requestsPerSecond"] for row in rows] == [2, 2, 4, 4, 8, 8]
    assert {row["guide_version"] for row in rows} == {guide.__version__}


def test_a_killed_machine_is_survived(scheduler: str, tmp_path: Path):
    with worker(scheduler, tmp_path, "first") as first, worker(scheduler, tmp_path, "second"):
        found = answers(questions(40), CATALOG, dask_cluster(scheduler))
        done = [next(found)]
        for process in psutil.Process(first.pid).children(recursive=True):
            process.kill()
        first.kill()
        done += found
    assert sorted(q.digest for q, _ in done) == sorted(q.digest for q in questions(40))
    assert {row["outcome"] for _, row in done} == {"Feasible"}


def test_a_question_that_kills_dask_workers_costs_no_other(scheduler: str, tmp_path: Path):
    """The nanny starts a worker again; the scheduler gives a question up after some deaths."""
    asked = [*questions(4), deadly()]
    with worker(scheduler, tmp_path, "third"):
        rows = {q.digest: row for q, row in answers(asked, CATALOG, dask_cluster(scheduler))}
    assert rows.pop("deadly")["outcome"] == "Failed"
    assert {row["outcome"] for row in rows.values()} == {"Feasible"}


def test_a_lost_scheduler_is_told_in_one_sentence(tmp_path: Path):
    with scheduler_in(tmp_path) as (address, process), worker(address, tmp_path, "fourth"):
        found = answers(questions(400), CATALOG, dask_cluster(address))
        next(found)
        process.kill()
        with pytest.raises(ClusterError, match="the scheduler is lost; what was answered is kept"):
            list(found)


def test_no_scheduler_is_told_in_one_sentence(tmp_path: Path):
    write(tmp_path)
    words = ["sweep", "-f", str(tmp_path / "study.yaml"), "--nodes", str(tmp_path / "nodes.yaml")]
    words += ["--out", str(tmp_path / "r.parquet")]
    for address, sentence in (
        (f"tcp://127.0.0.1:{free_port()}", "no Dask scheduler answers at tcp://"),
        ("nonsense://x", "no Dask scheduler answers at nonsense://x"),
    ):
        result = CliRunner().invoke(app, [*words, "--scheduler", address])
        assert isinstance(result.exception, ClusterError), result.exception
        assert sentence in str(result.exception)
        assert "\n" not in str(result.exception)


def test_the_manifest_names_this_version():
    for part in ("worker", "scheduler"):
        (container,) = MANIFEST["spec"][part]["spec"]["containers"]
        assert re.search(r":([^:]+)$", container["image"])[1] == guide.__version__  # pyright: ignore[reportOptionalSubscript]
