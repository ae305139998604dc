"""A HorizontalPodAutoscaler scales what a plan deploys by what its pods really use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tenacity import retry, stop_after_delay, wait_fixed

from hack.controlplane.kubectl import Kubectl
from hack.node.init import ADDRESS
from hack.node.node import Node
from hack.node.programs import build_metrics_server
from tests.e2e_node.beside import beside
from tests.e2e_node.client import Client
from tests.e2e_node.plans import condition, names_when_ready, ready, serving
from tests.e2e_node.under_load import load

NAME = "scaled"
REPLICAS, MOST = 3, 5
PORT = 4443
GROUP = "metrics.k8s.io"


def metrics_api() -> list[dict[str, Any]]:
    """What makes the API server ask metrics-server, which runs beside the node's programs."""
    metadata = {"name": "metrics-server", "namespace": "kube-system"}
    slice_labels = {"kubernetes.io/service-name": "metrics-server"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": PORT}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": slice_labels},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": PORT, "protocol": "TCP"}],
            "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"v1beta1.{GROUP}"},
            "spec": {
                "group": GROUP,
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
                "service": {"name": "metrics-server", "namespace": "kube-system"},
            },
        },
    ]


@pytest.fixture(scope="module")
def usage(node: Node, kubectl: Kubectl) -> Iterator[None]:
    """The API that tells what pods use."""
    words = (
        *(f"--{each}kubeconfig={node.kubeconfig}" for each in ("", "authentication-")),
        f"--authorization-kubeconfig={node.kubeconfig}",
        f"--secure-port={PORT}",
        f"--cert-dir={node.run_dir / 'metrics-pki'}",
        "--kubelet-insecure-tls",
        "--kubelet-preferred-address-types=InternalIP",
        "--metric-resolution=10s",
        "--kubelet-request-timeout=5s",  # it must be shorter
    )
    kubectl.apply(*metrics_api())

    def answers() -> bool:
        asked = ("get", "--raw", f"/apis/{GROUP}/v1beta1/nodes")
        told = kubectl(*asked, check=False).stdout
        return bool(told) and bool(json.loads(told).get("items"))

    try:
        with beside(node, build_metrics_server(), *words, answers=answers):
            yield
    finally:
        kubectl("delete", "apiservice", f"v1beta1.{GROUP}")
        kubectl("-n", "kube-system", "delete", "service", "metrics-server")


def autoscaler(deployment: str) -> dict[str, Any]:
    """One that wants more pods as soon as they do anything at all."""
    cpu = {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "10m"}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": NAME},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment},
            "minReplicas": REPLICAS,
            "maxReplicas": MOST,
            "metrics": [{"type": "Resource", "resource": cpu}],
        },
    }


@pytest.mark.usefixtures("usage")
def test_an_autoscaler_has_the_replicas_until_it_is_deleted(
    client: Client, kubectl: Kubectl, release: str, standin_image: str
):
    with serving(kubectl, release, NAME, standin_image, REPLICAS) as address:
        select = ("-n", release, "get", "deployments", "-l", f"guide.dev/plan={NAME}")
        (deployment,) = kubectl.json(*select)["items"]
        hpa = autoscaler(deployment["metadata"]["name"])
        hpa["metadata"]["namespace"] = release
        kubectl.apply(hpa)
        with load(client, address, per_s=20, seconds=100) as outcome:
            _scaled(kubectl, release)
            names_when_ready(kubectl, release, NAME, MOST)
            _edited(kubectl, release)  # makes the operator write the Deployment
            assert len(names_when_ready(kubectl, release, NAME, MOST)) == MOST
        print(f"autoscaling and an edit: {outcome.counts}")
        assert outcome.failed == 0, outcome.counts
        ready(kubectl, release, NAME)
        assert condition(kubectl, release, NAME, "Stalled")["status"] == "False"

        kubectl("-n", release, "delete", "hpa", NAME)
        names_when_ready(kubectl, release, NAME, REPLICAS)  # at the next look at the plan
        assert _owners(kubectl, release) == {"guide-operator"}
        ready(kubectl, release, NAME)


def _scaled(kubectl: Kubectl, namespace: str) -> None:
    """Wait until the autoscaler has acted, and on a measurement."""

    @retry(stop=stop_after_delay(90), wait=wait_fixed(1), reraise=True)
    def asserted() -> None:
        status = kubectl.json("-n", namespace, "get", "hpa", NAME).get("status", {})
        assert status.get("currentReplicas") == MOST, status
        (metric,) = status["currentMetrics"]
        assert metric["resource"]["current"]["averageValue"] != "0"
        assert _owners(kubectl, namespace) == {"kube-controller-manager"}

    asserted()


def _edited(kubectl: Kubectl, namespace: str) -> None:
    """Edit the plan and wait until the operator's answer to that is applied."""
    patch = {"spec": {"deployment": {"extraArgs": ["--disable-uvicorn-access-log"]}}}
    words = ("-n", namespace, "patch", "inferenceplan", NAME, "--type=merge", "-p")
    kubectl(*words, json.dumps(patch))

    @retry(stop=stop_after_delay(120), wait=wait_fixed(1), reraise=True)
    def asserted() -> None:
        plan = kubectl.json("-n", namespace, "get", "inferenceplan", NAME)
        assert plan["status"]["observedGeneration"] == plan["metadata"]["generation"]
        (deployment,) = _deployments(kubectl, namespace)
        (server, *_) = deployment["spec"]["template"]["spec"]["containers"]
        assert "--disable-uvicorn-access-log" in server["args"]
        status = deployment["status"]
        assert status["observedGeneration"] == deployment["metadata"]["generation"]
        assert status.get("updatedReplicas") == deployment["spec"]["replicas"] == MOST, status

    asserted()


def _deployments(kubectl: Kubectl, namespace: str) -> list[dict[str, Any]]:
    words = ("-n", namespace, "get", "deployments", "-l", f"guide.dev/plan={NAME}")
    return kubectl.json(*words, "--show-managed-fields")["items"]


def _owners(kubectl: Kubectl, namespace: str) -> set[str]:
    """Who manages the replicas of the plan's Deployment."""
    return {
        entry["manager"]
        for deployment in _deployments(kubectl, namespace)
        for entry in deployment["metadata"]["managedFields"]
        if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
    }
