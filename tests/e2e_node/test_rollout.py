"""What clients notice when real pods are replaced: nothing, unless a pod is killed outright."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psutil
import pytest
from tenacity import retry, stop_after_delay, wait_fixed

from hack.controlplane.kubectl import Kubectl
from hack.controlplane.pki import NODE as HOST
from hack.node import cgroups
from hack.node.node import Node, cgroup
from tests.e2e_node.client import Client
from tests.e2e_node.plans import names_when_ready, serving
from tests.e2e_node.under_load import load

PER_S, SECONDS = 20, 55  # 1,100 requests
NAME = "rollout"
REPLICAS = 3


@pytest.fixture(scope="module")
def service(kubectl: Kubectl, release: str, standin_image: str) -> Iterator[str]:
    """The address of the Service of a plan with three replicas."""
    with serving(kubectl, release, NAME, standin_image, REPLICAS) as address:
        yield address


def all_ready(kubectl: Kubectl, namespace: str) -> list[str]:
    """Names of the plan's pods, once REPLICAS of them are Ready and no other is left."""
    return names_when_ready(kubectl, namespace, NAME, REPLICAS)


def test_an_edit_of_the_plan_fails_no_request(
    client: Client, kubectl: Kubectl, release: str, service: str
):
    before = all_ready(kubectl, release)
    patch = {"spec": {"deployment": {"extraArgs": ["--disable-uvicorn-access-log"]}}}
    with load(client, service, PER_S, SECONDS) as outcome:
        kubectl(
            *("-n", release, "patch", "inferenceplan", NAME, "--type=merge", "-p"),
            json.dumps(patch),
        )
        gone(kubectl, release, before)
    print(f"edit: {outcome.counts}")
    assert outcome.total >= 1000
    assert outcome.failed == 0


def test_a_graceful_deletion_fails_no_request(
    client: Client, kubectl: Kubectl, release: str, service: str
):
    first, *_ = all_ready(kubectl, release)
    with load(client, service, PER_S, SECONDS) as outcome:
        kubectl("-n", release, "delete", "pod", first, "--wait=false")
        gone(kubectl, release, [first])
    print(f"graceful deletion: {outcome.counts}")
    assert outcome.total >= 1000
    assert outcome.failed == 0


@pytest.mark.usefixtures("node")
def test_a_drain_takes_one_pod_and_fails_no_request(
    client: Client, kubectl: Kubectl, release: str, service: str
):
    """There is one node, so its replacement waits and the budget keeps the others."""
    before = all_ready(kubectl, release)
    select = f"--pod-selector=guide.dev/plan={NAME}"
    with load(client, service, PER_S, SECONDS) as outcome:
        words = (HOST, "--delete-emptydir-data", "--timeout=30s", select)
        drained = kubectl("drain", *words, check=False)
        assert drained.returncode  # the budget held it up
        kubectl("uncordon", HOST)
        after = all_ready(kubectl, release)
    print(f"drain: {outcome.counts}")
    assert len({*before} - {*after}) == 1
    assert outcome.total >= 1000
    assert outcome.failed == 0


def test_a_killed_pod_loses_what_it_was_serving(
    node: Node, client: Client, kubectl: Kubectl, release: str, service: str
):
    all_ready(kubectl, release)
    with load(client, service, PER_S, SECONDS) as outcome:
        one_server(node).kill()
        all_ready(kubectl, release)
    print(f"SIGKILL: {outcome.counts}")
    assert outcome.total >= 1000
    # A request takes 0.6 s, so a third of 20 a second is 4 in flight; and the kernel sends new
    # ones to the dead pod until kube-proxy has heard of it.
    assert outcome.failed <= 20


def one_server(node: Node) -> psutil.Process:
    """The process of a replica, as the machine sees it."""
    inside = map(psutil.Process, cgroups.processes(cgroup(node.run_dir)))
    return next(one for one in inside if "hack.standin" in one.cmdline())


def gone(kubectl: Kubectl, namespace: str, names: list[str]) -> None:
    """Wait until others have taken the place of the named pods."""

    @retry(stop=stop_after_delay(120), wait=wait_fixed(0.5), reraise=True)
    def asserted() -> None:
        assert not set(names) & set(all_ready(kubectl, namespace))

    asserted()
