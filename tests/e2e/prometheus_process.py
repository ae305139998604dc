"""A real Prometheus as a process, and promtool."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from hack.controlplane.build import ControlPlaneError
from hack.ports import free_port
from hack.rules import RULES
from tests.e2e.conftest import unavailable
from tests.e2e.operator_process import eventually


def program(name: str) -> str:
    """`prometheus` or `promtool`; skips, or fails in CI, where there is none."""
    found = shutil.which(name)
    if found is None:
        unavailable(ControlPlaneError(f"{name} is missing: apt-get install prometheus"))
        raise AssertionError
    return found


def promtool(*words: str | Path, stdin: str | None = None, cwd: Path | None = None) -> str:
    """Its output; fails with it."""
    result = subprocess.run(
        [program("promtool"), *map(str, words)],
        input=stdin,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


class Prometheus:
    """A running server."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self._process = process

    def stop(self) -> None:
        """End it; more than once does no harm."""
        self._process.terminate()
        self._process.wait(timeout=20)

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The series of an instant query, now or `at` a Unix time."""
        asked = {"query": expression, **({"time": at} if at else {})}
        body = urllib.parse.urlencode(asked).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/query", body, timeout=10) as response:
            return json.load(response)["data"]["result"]

    def alive(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as response:
                return response.status == 200
        except OSError:
            return False


def queries(dashboard: Path, *, namespace: str, plan: str, window_s: int) -> list[tuple[str, str]]:
    """Panel and query of every target of a dashboard, its variables filled in."""
    return [
        (
            panel["title"],
            target["expr"]
            .replace("$__rate_interval", f"{window_s}s")
            .replace("$namespace", namespace)
            .replace("$plan", plan),
        )
        for panel in json.loads(dashboard.read_text())["panels"]
        for target in panel["targets"]
    ]


@contextmanager
def prometheus(
    folder: Path, targets: list[tuple[int, Mapping[str, str]]], port: int | None = None
) -> Iterator[Prometheus]:
    """Scrapes 127.0.0.1 ports every second, with labels as relabelling would give them."""
    folder.mkdir(exist_ok=True)
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {
                "job_name": f"pods-{at}",
                "honor_labels": True,
                "static_configs": [{"targets": [f"127.0.0.1:{at}"], "labels": dict(labels)}],
            }
            for at, labels in targets
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    promtool("check", "config", folder / "prometheus.yml")
    port = port or free_port()
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    server = Prometheus(f"http://127.0.0.1:{port}", process)
    try:
        eventually(server.alive)
        yield server
    finally:
        server.stop()
