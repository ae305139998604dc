"""What the operator cannot see, it says; what comes later, it sees; what has gone, it forgets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hack import nodes
from hack.controlplane.kubectl import Kubectl
from tests.e2e.breakable import Breakable, breakable_plane, operated
from tests.e2e.conftest import needs_devices
from tests.e2e.faulty_proxy import faulty
from tests.e2e.operator_process import (
    Operator,
    chat,
    condition,
    eventually,
    install_crd,
    plan_when,
    running,
)
from tests.e2e.test_inventory import dra_objects

CRD = "crd/inferenceplans.guide.dev"
SLICES = "resource.k8s.io/v1"


@pytest.fixture(scope="module")
def plane(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Breakable]:
    with breakable_plane(programs, tmp_path_factory.mktemp("blind"), {"h100-sxm": 2}) as found:
        yield found


@pytest.fixture
def place(plane: Breakable, request: pytest.FixtureRequest) -> str:
    name = request.node.name.replace("_", "-")[:60].strip("-")
    plane.kubectl("create", "namespace", name)
    return name


def gpus(operator: Operator) -> float:
    """All GPUs that the operator knows of."""
    return sum(operator.metrics().get("guide_inventory_gpus", {}).values())


def test_a_definition_that_comes_goes_and_comes_again(plane: Breakable, place: str, tmp_path: Path):
    kubectl = plane.kubectl
    with operated(kubectl.kubeconfig, tmp_path) as operator:
        eventually(lambda: "inferenceplans" in operator.readiness()[1].lower())
        assert operator.readiness()[0] == 503
        for name in ("first", "second"):
            install_crd(kubectl)
            eventually(lambda: operator.readiness() == (200, "ok"))
            kubectl.apply(chat(place, name))
            plan_when(kubectl, place, name, "Recommended", "True")
            kubectl("delete", CRD)
            eventually(lambda: "inferenceplans" in operator.readiness()[1].lower())
            eventually(lambda: not operator.plans(place))
        assert operator.healthy()  # to start it again would not help
    install_crd(kubectl)


@needs_devices
def test_devices_that_are_served_later_are_seen(plane: Breakable, place: str, tmp_path: Path):
    kubectl = plane.kubectl
    install_crd(kubectl)
    node, *devices = dra_objects()
    with ExitStack() as operating:
        with plane.with_api_flags(f"--runtime-config={SLICES}=false"):
            operator = operating.enter_context(operated(kubectl.kubeconfig, tmp_path))
            eventually(lambda: operator.readiness() == (200, "ok"))
            nodes.create(kubectl, [node])
            eventually(lambda: gpus(operator) > 0)
            before = gpus(operator)
            kubectl.apply(chat(place))
            plan_when(kubectl, place, "chat", "Recommended", "True")
        kubectl.apply(*devices)
        eventually(lambda: gpus(operator) > before)
        # a plan that was there before the watches began anew is worked on as before
        kubectl.apply(chat(place, precisionTolerance="FP8"))
        eventually(lambda: _observed(kubectl, place) == 2)


def test_what_went_while_nobody_looked_is_forgotten(plane: Breakable, place: str, tmp_path: Path):
    """Nodes, and a plan that held GPUs, vanish in a gap that the watch cannot fill."""
    kubectl = plane.kubectl
    install_crd(kubectl)
    applied = {"output": {"mode": "Apply", "monitoring": "Annotations"}}
    with (
        ExitStack() as after,
        faulty(kubectl.kubeconfig, tmp_path, share=0) as (through, faults),
        operated(through, tmp_path) as operator,
    ):
        kubectl.apply(chat(place, "gone", **applied), chat(place, "stays"))
        plan_when(kubectl, place, "stays", "Recommended", "True")
        eventually(lambda: condition(_plan(kubectl, place, "gone"), "Applied").get("status"))
        before = gpus(operator)
        with faults.gap():
            time.sleep(2)  # every watch has ended
            kubectl("-n", place, "delete", "iplan", "gone")
            kubectl("delete", "node", "--all")
        # whatever comes of this test: those that follow plan on them
        after.callback(nodes.create, kubectl, nodes.nodes({"h100-sxm": 2}))
        eventually(lambda: gpus(operator) == 0 < before)
        eventually(
            lambda: operator.plans(place) == {"stays"} and not operator.of_plan(place, "gone")
        )
        plan_when(kubectl, place, "stays", "NoFeasibleConfiguration")


def test_a_status_that_finds_no_plan_means_that_it_is_deleted(
    plane: Breakable, place: str, tmp_path: Path
):
    """The watch says nothing; the write of a status does."""
    kubectl = plane.kubectl
    install_crd(kubectl)
    with (
        faulty(kubectl.kubeconfig, tmp_path, share=0) as (through, faults),
        running(through, tmp_path / "log", settle_s="0.2", resync_s="1") as operator,
    ):
        kubectl.apply(chat(place, "gone"))
        plan_when(kubectl, place, "gone", "Recommended", "True")
        with faults.gap():
            time.sleep(2)
            kubectl("-n", place, "delete", "iplan", "gone")
            eventually(lambda: not operator.of_plan(place, "gone"))


def _plan(kubectl: Kubectl, namespace: str, name: str) -> dict[str, Any]:
    return kubectl.json("-n", namespace, "get", "iplan", name)


def _observed(kubectl: Kubectl, place: str) -> int:
    """The generation of the plan that its status tells of."""
    plan = kubectl.json("-n", place, "get", "iplan", "chat")
    return plan["status"]["observedGeneration"]
