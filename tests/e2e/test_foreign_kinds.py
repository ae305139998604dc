"""Kinds of other projects on a real API server with their real definitions, from their Go modules:
each is accepted strictly, and no default is added to it.

LeaderWorkerSet and LLMInferenceService are not here: the Go module proxy does not serve their
modules, so only the pods inside them are tried (tests/e2e/test_gitops.py).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import pytest
import yaml

from guide.manifests.render import render_files
from hack.controlplane.build import ControlPlaneError
from hack.controlplane.crds import definitions
from hack.controlplane.kubectl import Kubectl
from tests.e2e.conftest import ControlPlane, unavailable
from tests.e2e.test_autoscaler import scaled_plan
from tests.e2e.test_manifests import ALLOTTED, METADATA, REVISION, added
from tests.manifest_cases import CASES, Case

OWN_WORDS = Path(__file__).with_name("inferencepool_definition.yaml")
GATEWAY = {"gateway": {"name": "inference", "namespace": "infra"}}
MONITORED = {"output": {"monitoring": "PodMonitor", **GATEWAY}}


@pytest.fixture(scope="module", autouse=True)
def kinds(control_plane: ControlPlane, kubectl: Kubectl) -> Iterator[None]:
    """The definitions, for the tests of this file alone: others run without them."""
    if control_plane.external:
        pytest.skip("A cluster elsewhere gets no kinds of others: unset GUIDE_E2E_KUBECONFIG.")
    try:
        found = definitions()
    except ControlPlaneError as problem:
        unavailable(problem)
        raise
    found.append(yaml.safe_load(OWN_WORDS.read_text("utf-8")))
    kubectl.apply(*found)
    names = [f"crd/{each['metadata']['name']}" for each in found]
    kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
    yield
    kubectl("delete", *names)


def behind(case: Case) -> Case:
    """The case with a Gateway and a PodMonitor."""
    spec = {**case.spec, **MONITORED}
    return Case(groups=case.groups, name=case.name, spec=spec)


def taken(
    kubectl: Kubectl, namespace: str, objects: list[dict[str, Any]], left: Set[str] = ALLOTTED
) -> set[str]:
    """Applies all and returns their kinds; what the server added fails the test, but for what is
    `left` to it."""
    for value in objects:
        value["metadata"]["namespace"] = namespace
        kubectl.apply(value)
        where = ("-n", namespace, "get", value["kind"], value["metadata"]["name"])
        extra = set(added(kubectl.json(*where), value)) - left
        extra -= {f"metadata.{key}" for key in METADATA} | {REVISION}
        assert extra == set(), value["kind"]
    return {value["kind"] for value in objects}


def objects_of(case: Case, form: str) -> list[dict[str, Any]]:
    files = render_files(case.plan, case.recommendation, form=form)
    found = [yaml.safe_load(text) for name, text in files.items() if name.endswith(".yaml")]
    return [each for each in found if each["kind"] != "Kustomization"]


@pytest.mark.parametrize("name", ["vllm", "sglang", "dra", "two-pools-weighted", "production"])
def test_pools_their_route_and_monitor_are_taken_as_they_are(
    kubectl: Kubectl, namespace: str, name: str
):
    kinds = taken(kubectl, namespace, objects_of(behind(CASES[name]), "inferencepool"))
    assert {"InferencePool", "HTTPRoute", "PodMonitor", "Deployment"} <= kinds


def test_a_route_over_services_is_taken_as_it_is(kubectl: Kubectl, namespace: str):
    objects = objects_of(behind(CASES["two-pools-weighted"]), "kustomize")
    assert {"HTTPRoute", "PodMonitor"} <= taken(kubectl, namespace, objects)


def test_a_route_without_a_gateway_is_taken_too(kubectl: Kubectl, namespace: str):
    assert "HTTPRoute" in taken(kubectl, namespace, objects_of(CASES["vllm"], "inferencepool"))


def test_a_scaled_object_is_taken_as_it_is(kubectl: Kubectl, namespace: str):
    _, objects = scaled_plan(kubectl, namespace, "keda")
    del objects["Kustomization"]
    left = {*ALLOTTED, "spec.replicas"}  # the autoscaler's
    assert "ScaledObject" in taken(kubectl, namespace, list(objects.values()), left)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("InferencePool", ("spec", "endpointPickerRef", "portNumber"), 9002),
        ("InferencePool", ("spec", "endpointPickerRef", "port"), {}),
        ("HTTPRoute", ("spec", "rules", 0, "backendRefs", 0, "wieght"), 1),
        ("HTTPRoute", ("spec", "parentRefs", 0, "kind"), ""),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "scheme"), "ftp"),
    ],
)
def test_definitions_refuse_what_is_wrong(
    kubectl: Kubectl, namespace: str, kind: str, path: tuple[Any, ...], value: Any
):
    objects = objects_of(behind(CASES["vllm"]), "inferencepool")
    (wrong,) = (copy.deepcopy(each) for each in objects if each["kind"] == kind)
    wrong["metadata"]["namespace"] = namespace
    inside = wrong
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = value
    with pytest.raises(AssertionError, match=str(path[-1])):
        kubectl.apply(wrong)
