"""A control plane of some tests alone, since they break it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tenacity import retry, stop_after_delay, wait_fixed

from hack import nodes
from hack.controlplane import processes
from hack.controlplane.kubectl import Kubectl
from hack.controlplane.plane import GRACE_S
from tests.e2e.conftest import ROOT
from tests.e2e.operator_process import Operator, chat, running


@dataclass(frozen=True)
class Breakable:
    """A control plane of these tests alone, since they break it."""

    run_dir: Path
    kubectl: Kubectl

    @contextmanager
    def without_api_server(self) -> Generator[None]:
        """The API server is gone, and afterwards started again as it was."""
        command = self._stop_api_server()
        try:
            yield
        finally:
            self._start_api_server(command)

    @contextmanager
    def with_api_flags(self, *flags: str) -> Generator[None]:
        """The API server runs with these flags too, and afterwards as it was."""
        command = self._stop_api_server()
        try:
            self._start_api_server([*command, *flags])
            yield
        finally:
            self._stop_api_server()
            self._start_api_server(command)

    def _stop_api_server(self) -> list[str]:
        found = processes.running(self.run_dir, "apiserver")
        assert found is not None
        command = found.cmdline()
        processes.stop(self.run_dir, ["apiserver"], GRACE_S)
        return command

    def _start_api_server(self, command: list[str]) -> None:
        _start(self.run_dir, "apiserver", command)
        processes.wait_for(self.run_dir, "apiserver", self.answers, 60)

    @contextmanager
    def with_paused_etcd(self) -> Generator[None]:
        """The storage hangs: requests neither fail nor succeed."""
        etcd = processes.running(self.run_dir, "etcd")
        assert etcd is not None
        etcd.suspend()
        try:
            yield
        finally:
            etcd.resume()

    def answers(self) -> bool:
        return not self.kubectl("get", "--raw", "/readyz", check=False).returncode

    @retry(stop=stop_after_delay(60), wait=wait_fixed(0.5), reraise=True)
    def apply(self, namespace: str, names: list[str], rate: str, mode: str = "Recommend") -> None:
        """As people do: again, until the server takes it."""
        load = {**chat(namespace)["spec"]["workload"], "requestsPerSecond": rate}
        output = {"mode": mode, "monitoring": "Annotations"}
        self.kubectl.apply(*(chat(namespace, name, workload=load, output=output) for name in names))


@contextmanager
def breakable_plane(programs: Path, run_dir: Path, shapes: dict[str, int]) -> Generator[Breakable]:
    """A control plane with nodes of these shapes; it has no plans yet, nor their definition."""
    try:
        _python("-m", "hack.controlplane", "up", "--run-dir", str(run_dir))
        kubectl = Kubectl(programs / "kubectl", run_dir / "kubeconfig")
        nodes.create(kubectl, nodes.nodes(shapes))
        yield Breakable(run_dir, kubectl)
    finally:
        _python("-m", "hack.controlplane", "down", "--run-dir", str(run_dir))


@contextmanager
def operated(kubeconfig: Path, folder: Path) -> Generator[Operator]:
    """An operator that must live through all of it without a bug of its own."""
    log = folder / "log"
    with running(kubeconfig, log, max_backoff_s="5", settle_s="0.2", sweep_s="3") as operator:
        yield operator
        assert operator.process.poll() is None, log.read_text()[-3000:]
    assert "this is a bug" not in log.read_text()
    assert "Traceback" not in log.read_text()  # a line tells that a watch ended


def _start(run_dir: Path, name: str, command: list[str]) -> None:
    program = "import sys; from pathlib import Path; from hack.controlplane import processes;"
    call = "processes.start(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])"
    _python("-c", program + call, str(run_dir), name, *command)


def _python(*words: str) -> None:
    """In a process of its own, so that what it starts is no child of pytest."""
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, capture_output=True)
