"""The wall clock of the leading operator jumps by days while it runs."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hack.controlplane.kubectl import Kubectl
from tests.e2e.conftest import ControlPlane
from tests.e2e.moved_clock import MovedClock
from tests.e2e.operator_process import chat, eventually, install_crd, plan_when, running

ONE_POOL = {"budget": {"maxGPUs": 64}, "placement": {"gpus": ["H100-SXM"]}}
ROLLOUT = 5  # writes of a layout that is replaced: reserved, applied, available, settled


@contextmanager
def every_write(
    kubectl: Kubectl, namespace: str, file: Path
) -> Generator[Callable[[], Counter[str]]]:
    """How often each plan was written since it was watched."""
    words = ("-n", namespace, "get", "iplan", "--watch", "-o", "jsonpath={.metadata.name}{'\n'}")
    command = [kubectl.program, f"--kubeconfig={kubectl.kubeconfig}", *words]
    with file.open("w") as stream, subprocess.Popen(command, stdout=stream) as watching:
        try:
            yield lambda: Counter(file.read_text().split())
        finally:
            watching.terminate()


def wants(namespace: str, name: str, rate: int, mode: str) -> dict[str, Any]:
    load = {**chat(namespace)["spec"]["workload"], "requestsPerSecond": rate}
    output = {"mode": mode, "monitoring": "Annotations"}
    return chat(namespace, name, workload=load, output=output, **ONE_POOL)


def gpus(kubectl: Kubectl, namespace: str, name: str) -> int:
    plan = plan_when(kubectl, namespace, name, "Recommended", "True")
    return plan["status"]["best"]["gpus"]


def test_a_clock_that_jumps_makes_no_plan_thrash(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    install_crd(kubectl)
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    kubectl.apply({**lease, "metadata": {"name": "guide", "namespace": namespace}})
    clock, config = MovedClock(tmp_path / "offset"), control_plane.kubeconfig
    elected = {"lease": "guide", "namespace": namespace, "namespaces": namespace}
    logs = tmp_path / "one", tmp_path / "two"
    kubectl.apply(
        wants(namespace, "idle", 4, "Recommend"),
        wants(namespace, "steady", 4, "Apply"),
        wants(namespace, "saving", 100, "Apply"),
    )

    def moved(offset: str, off: timedelta) -> None:
        """Its Lease says that it lives by this clock, and that it still leads."""
        clock.move(offset)

        def noticed() -> bool:
            spec = kubectl.json("-n", namespace, "get", "lease", "guide")["spec"]
            assert spec["holderIdentity"] == "one"
            ahead = datetime.fromisoformat(spec["renewTime"]) - datetime.now(UTC)
            return abs(ahead - off) < timedelta(minutes=1)

        eventually(noticed)

    with (
        running(config, logs[0], clock.variables, **elected, identity="one", resync_s="1") as first,
        running(config, logs[1], **elected, identity="two") as second,
        every_write(kubectl, namespace, tmp_path / "writes") as written,
    ):
        before = gpus(kubectl, namespace, "saving")
        steady = gpus(kubectl, namespace, "steady")
        kubectl.apply(wants(namespace, "saving", 4, "Apply"))
        assert gpus(kubectl, namespace, "saving") == before  # less would do, for half an hour now

        def looked_again() -> Counter[str]:
            """The writes so far, after several looks at every plan."""
            looks = first.looks()
            eventually(lambda: first.looks() >= looks + 9)
            for name in ("idle", "steady", "saving"):
                plan_when(kubectl, namespace, name, "Recommended", "True")
            return written()

        count = looked_again()
        moved("+1d", timedelta(days=1))
        ahead = looked_again()
        after = gpus(kubectl, namespace, "saving")
        assert after < before  # half an hour has passed by this clock; once, and not back below
        for offset, off in (("+0", timedelta()), ("-1d", timedelta(days=-1)), ("+0", timedelta())):
            moved(offset, off)
            back = looked_again()
        assert back - ahead == Counter()
        assert {name for name in ahead - count} <= {"saving"}
        assert (ahead - count).total() <= ROLLOUT
        assert (gpus(kubectl, namespace, "saving"), gpus(kubectl, namespace, "steady")) == (
            after,
            steady,
        )
        kubectl.apply(wants(namespace, "idle", 6, "Recommend"))
        gpus(kubectl, namespace, "idle")
        assert (written() - back)["idle"] <= 2  # the spec, and one answer
        assert first.process.poll() is None
        assert not second.plans(namespace)
    assert "Traceback" not in logs[0].read_text() + logs[1].read_text()
