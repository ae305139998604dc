"""The operator as a process of its own, as a cluster would run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from hack.controlplane.kubectl import Kubectl
from hack.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
Labels = frozenset[tuple[str, str]]


@dataclass
class Operator:
    """A running operator and what it exports."""

    process: subprocess.Popen[str]
    metrics_port: int
    health_port: int
    log: Path

    def metrics(self) -> dict[str, dict[Labels, float]]:
        """Samples by name and labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as response:
            text = response.read().decode()
        samples: dict[str, dict[Labels, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
        return samples

    def looks(self) -> float:
        """How often plans were looked at; most looks find nothing to ask or to write."""
        return self.metrics()["guide_reconciles_total"][frozenset()]

    def of_plan(self, namespace: str, plan: str) -> dict[str, int]:
        """How many series of each name belong to a plan."""
        wanted = {("namespace", namespace), ("plan", plan)}
        counts = {
            name: sum(wanted <= labels for labels in rows) for name, rows in self.metrics().items()
        }
        return {name: count for name, count in counts.items() if count}

    def plans(self, namespace: str) -> set[str]:
        """Names of the answered plans of a namespace."""
        rows = self.metrics().get("guide_plan_feasible", {})
        return {dict(labels)["plan"] for labels in rows if ("namespace", namespace) in labels}

    def healthy(self) -> bool:
        """Whether /healthz answers."""
        try:
            return self.probe("healthz")[0] == 200
        except (urllib.error.URLError, ConnectionError):
            return False

    def readiness(self) -> tuple[int, str]:
        """Status and text of /readyz."""
        return self.probe("readyz")

    def probe(self, path: str) -> tuple[int, str]:
        """Status and text of a path of the health port."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/{path}") as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def running(
    kubeconfig: Path,
    log: Path,
    variables: Mapping[str, str] | None = None,
    under: Sequence[str | Path] = (),
    **settings: str,
) -> Iterator[Operator]:
    """An operator on a cluster; `settings` are GUIDE_* variables without the prefix, `variables`
    those of anything else; `under` is a command that starts it.
    """
    ports = free_ports(2)
    environment = {
        **os.environ,
        "KUBECONFIG": str(kubeconfig),
        "GUIDE_BIND_ADDRESS": "127.0.0.1",
        "GUIDE_METRICS_PORT": str(ports[0]),
        "GUIDE_HEALTH_PORT": str(ports[1]),
        "GUIDE_SETTLE_S": "0.5",
        **{f"GUIDE_{name.upper()}": value for name, value in settings.items()},
        **(variables or {}),
    }
    with log.open("a") as stream:
        process = subprocess.Popen(
            [*under, sys.executable, "-m", "guide_operator"],
            cwd=ROOT,
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            text=True,
        )
    operator = Operator(process, *ports, log)
    try:
        _wait_until_healthy(operator)
        yield operator
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@retry(
    stop=stop_after_delay(120),
    wait=wait_fixed(0.2),
    retry=retry_if_exception_type(TimeoutError),
    reraise=True,
)
def _wait_until_healthy(operator: Operator) -> None:
    if operator.process.poll() is not None:
        raise AssertionError(f"the operator ended: {operator.log.read_text()[-2000:]}")
    if not operator.healthy():
        raise TimeoutError(f"the operator is not healthy: {operator.log.read_text()[-2000:]}")


@retry(stop=stop_after_delay(120), wait=wait_fixed(0.2), reraise=True)
def plan_when(
    kubectl: Kubectl, namespace: str, name: str, reason: str, ready: str | None = None
) -> dict[str, Any]:
    """The plan, once its newest generation is answered with this reason of Ready."""
    plan = kubectl.json("-n", namespace, "get", "iplan", name)
    status = plan.get("status", {})
    found = condition(plan, "Ready")
    assert status.get("observedGeneration") == plan["metadata"]["generation"]
    assert found.get("reason") == reason, found
    if ready is not None:
        assert found["status"] == ready, found
    return plan


def condition(plan: dict[str, Any], kind: str) -> dict[str, Any]:
    """The condition of that type, or an empty one."""
    found = plan.get("status", {}).get("conditions", [])
    return next((c for c in found if c["type"] == kind), {})


def chat(namespace: str, name: str = "chat", **spec: Any) -> dict[str, Any]:
    """The example plan in a namespace, with other values of its spec."""
    plan: dict[str, Any] = yaml.safe_load((ROOT / "examples/chat.yaml").read_text())
    plan["metadata"] = {"name": name, "namespace": namespace}
    # FastGen has no official image, so a plan that may choose it must name one
    plan["spec"] |= {"frameworks": ["vLLM"], **spec}
    # a whole node of eight H100 costs more than the example's budget
    plan["spec"]["budget"] = {"billing": "FreeGPUs"} | plan["spec"].get("budget", {})
    return plan


def eventually(check: Callable[[], object], limit_s: float = 60) -> None:
    """Wait until `check` is true; the limit ends a wait on a busy machine, it judges no speed."""

    @retry(stop=stop_after_delay(limit_s), wait=wait_fixed(0.2), reraise=True)
    def holds() -> None:
        assert check()

    holds()


def install_crd(kubectl: Kubectl) -> None:
    """The CRD, ready to be used."""
    kubectl("apply", "--server-side", "-f", ROOT / "crds")
    # `kubectl wait` fails on a definition that has no status yet
    eventually(lambda: not kubectl("get", "iplan", "-A", check=False).returncode)
