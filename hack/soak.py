"""Hours of heartbeats, label changes and edits against the operator; every write has a cause.

    python -m hack.soak [--minutes 60] [--plans 20]

It starts a control plane of its own with fake GPU nodes, and the operator. What must not concern a
plan (heartbeats, the time stamps of GPU Feature Discovery, labels of other owners) goes on all the
time; every minute a plan is edited or a node loses its GPU. The server counts: a new
resourceVersion of a plan or of its ConfigMap while nothing happened that concerns it is a write
without cause. Exit code 1 when there was one, or an error of the operator.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import psutil
import typer
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tenacity import retry, stop_after_delay, wait_fixed

from hack import nodes
from hack.controlplane import plane as planes
from hack.controlplane.build import build
from hack.controlplane.kubectl import Kubectl
from hack.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
NAMESPACE = "guide-soak"
SHAPES = ("h100-sxm", "a100-80")
GPUS = ("H100-SXM", "A100-80GB")
NODES_OF_A_SHAPE = 5
PLANNED = "guide_planning_duration_seconds"
PRODUCT = "nvidia.com/gpu.product"
ROUND_S = 5.0
CAUSE_S = 40.0  # between two changes that concern a plan
SETTLE_S = 20.0  # after which all that a change causes has been written

Versions = dict[tuple[str, str], str]  # (kind, name) -> resourceVersion


def plan(index: int) -> dict[str, Any]:
    """Plans that differ in load; half may use one GPU, half the other."""
    value: dict[str, Any] = yaml.safe_load((ROOT / "examples/chat.yaml").read_text())
    value["metadata"] = {"name": f"plan-{index:04d}", "namespace": NAMESPACE}
    value["spec"] |= {"frameworks": ["vLLM"], "placement": {"gpus": [GPUS[index % 2]]}}
    value["spec"]["workload"]["requestsPerSecond"] = f"{1 + index * 0.05:.2f}"
    return value


@dataclass
class Soak:
    """One run: what was done, and what was written because of it or without it."""

    kubectl: Kubectl
    plans: int
    metrics_url: str
    dice: random.Random = field(default_factory=lambda: random.Random(0))
    planned: float = 0.0  # answers worked out so far
    replans: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)
    without_cause: list[str] = field(default_factory=list)
    rounds: int = 0

    def versions(self) -> Versions:
        """What the server holds of the operator's objects."""
        items = self.kubectl.json("-n", NAMESPACE, "get", "iplan,configmap")["items"]
        return {
            (item["kind"], item["metadata"]["name"]): item["metadata"]["resourceVersion"]
            for item in items
            if item["metadata"]["name"] != "kube-root-ca.crt"
        }

    def noise(self) -> None:
        """Changes that concern no plan: a time stamp, a foreign label, a heartbeat."""
        self.rounds += 1
        stamp = str(int(time.time()))
        self.kubectl(
            *("label", "nodes", "-l", nodes.SELECTOR, "--overwrite"),
            *(f"nvidia.com/gfd.timestamp={stamp}", f"example.org/rotated={stamp}"),
        )
        beat = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = {"type": "Ready", "status": "True", "lastHeartbeatTime": beat}
        patch = yaml.safe_dump({"status": {"conditions": [condition]}})
        node = self.dice.choice(sorted(nodes.ready(self.kubectl)))
        self.kubectl("patch", "node", node, "--subresource=status", "--patch", patch)

    def edit(self) -> set[str]:
        """Another load for one plan; returns the plans concerned."""
        value = plan(self.dice.randrange(self.plans))
        rate = f"{self.dice.uniform(1, 4):.2f}"
        value["spec"]["workload"]["requestsPerSecond"] = rate
        self.kubectl.apply(value)
        return {value["metadata"]["name"]}

    def node_change(self) -> set[str]:
        """A node loses its product label, or gets it back; returns the plans concerned."""
        shape = self.dice.randrange(2)
        label = nodes.SHAPES[SHAPES[shape]].labels[PRODUCT]
        node = f"soak-{SHAPES[shape]}-0"
        found = self.kubectl.json("get", "node", node)["metadata"]["labels"]
        change = f"{PRODUCT}-" if PRODUCT in found else f"{PRODUCT}={label}"
        self.kubectl("label", "node", node, change)
        return {f"plan-{index:04d}" for index in range(shape, self.plans, 2)}

    def count_replans(self, cause: str) -> None:
        """Add the answers that the operator worked out since the last call to this cause."""
        text = httpx.get(self.metrics_url, trust_env=False).text
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        total = sum(s.value for s in samples if s.name == f"{PLANNED}_count")
        self.replans[cause] += int(total - self.planned)
        self.planned = total

    def account(self, before: Versions, cause: str, concerned: set[str]) -> Versions:
        """Count what was written since `before`; all else than `concerned` was without cause."""
        self.count_replans(cause)
        now = self.versions()
        for kind, name in sorted(now.keys() | before.keys()):
            if now.get((kind, name)) == before.get((kind, name)):
                continue
            owner = name.removesuffix("-manifests")
            if owner in concerned:
                self.writes[f"{cause}: {kind}"] += 1
            else:
                self.without_cause.append(f"{kind} {name} during {cause}")
        return now

    @retry(stop=stop_after_delay(300), wait=wait_fixed(1), reraise=True)
    def answered(self) -> None:
        """Wait until every plan is answered for its newest generation."""
        for item in self.kubectl.json("-n", NAMESPACE, "get", "iplan")["items"]:
            status = item.get("status", {})
            name = item["metadata"]["name"]
            assert status.get("observedGeneration") == item["metadata"]["generation"], name
            ready = [c["status"] for c in status["conditions"] if c["type"] == "Ready"]
            assert ready == ["True"], f"{name}: {status['conditions']}"

    def run(self, seconds: float) -> None:
        """Noise in every round; now and then a change that concerns some plans."""
        end = time.monotonic() + seconds
        causes = (("edit", self.edit), ("node change", self.node_change))
        self.count_replans("start")
        versions, turn = self.versions(), 0
        while time.monotonic() < end:
            quiet_until = min(end, time.monotonic() + CAUSE_S - SETTLE_S)
            while time.monotonic() < quiet_until:
                self.noise()
                time.sleep(ROUND_S)
                versions = self.account(versions, "noise", set())
            if end - time.monotonic() < SETTLE_S:
                return
            cause, change = causes[turn % len(causes)]
            turn += 1
            concerned = change()
            time.sleep(SETTLE_S)
            self.answered()
            versions = self.account(versions, cause, concerned)


@contextmanager
def operator(kubeconfig: Path, log: Path, metrics: int) -> Generator[psutil.Popen]:
    """The operator on that cluster, as people run it."""
    health = free_port()
    settings = {
        "KUBECONFIG": str(kubeconfig),
        "GUIDE_BIND_ADDRESS": "127.0.0.1",
        "GUIDE_METRICS_PORT": str(metrics),
        "GUIDE_HEALTH_PORT": str(health),
    }
    with log.open("w") as stream:
        words = [sys.executable, "-m", "guide_operator"]
        process = psutil.Popen(
            words, cwd=ROOT, env={**os.environ, **settings}, stdout=stream, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def memory_bytes(process: psutil.Process) -> int:
    """Memory of the operator and its workers, shared pages counted once."""
    family = [process, *process.children(recursive=True)]
    return sum(each.memory_full_info().pss for each in family)


def main(
    minutes: Annotated[float, typer.Option(help="how long to go on after the start")] = 60,
    plans: Annotated[int, typer.Option(help="plans on ten nodes")] = 20,
) -> None:
    """Print what was written and why, the operator's memory, and its errors."""
    programs = build()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "operator.log"
        run_dir = Path(folder) / "plane"
        try:
            kubeconfig = planes.up(run_dir, programs).kubeconfig
            port = free_port()
            url = f"http://127.0.0.1:{port}/metrics"
            soak = Soak(Kubectl(programs / "kubectl", kubeconfig), plans, url)
            with operator(kubeconfig, log, port) as process:
                prepare(soak)
                before = memory_bytes(process)
                soak.run(minutes * 60)
                after = memory_bytes(process)
        finally:
            planes.down(run_dir)
        errors = re.findall(r"^.*\[(?:ERROR|WARNING|CRITICAL) *\].*$", log.read_text(), re.M)
    report(soak, before, after, errors)
    if soak.without_cause or errors:
        raise typer.Exit(1)


def prepare(soak: Soak) -> None:
    """CRD, nodes, namespace and plans, all answered."""
    kubectl = soak.kubectl
    kubectl("apply", "--server-side", "-f", ROOT / "crds")
    kubectl("wait", "--for=create", "crd/inferenceplans.guide.dev", "--timeout=20s")
    kubectl("wait", "--for=condition=Established", "crd/inferenceplans.guide.dev")
    kubectl("create", "namespace", NAMESPACE)
    many = [
        nodes.node(f"soak-{shape}-{index}", nodes.SHAPES[shape])
        for shape in SHAPES
        for index in range(NODES_OF_A_SHAPE)
    ]
    nodes.create(kubectl, many)
    kubectl.apply(*(plan(index) for index in range(soak.plans)))
    soak.answered()
    time.sleep(SETTLE_S)


def report(soak: Soak, before: int, after: int, errors: list[str]) -> None:
    """The figures, one a line."""
    print(f"rounds of heartbeats and time stamps: {soak.rounds}")
    for cause, count in sorted(soak.replans.items()):
        print(f"plans worked out by {cause}: {count}")
    for cause, count in sorted(soak.writes.items()):
        print(f"writes after {cause}: {count}")
    print(f"writes without cause: {len(soak.without_cause)}")
    print(f"memory: {before / 2**20:.0f} MiB at the start, {after / 2**20:.0f} MiB at the end")
    print(f"errors in the operator's log: {len(errors)}")
    for line in [*soak.without_cause, *errors][:20]:
        print(f"  {line}")


if __name__ == "__main__":
    typer.run(main)
