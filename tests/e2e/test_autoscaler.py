"""The rendered HorizontalPodAutoscaler under the real controller, over an API of metrics as
prometheus-adapter serves it.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest
import trustme
import yaml
from tenacity import retry, stop_after_delay, wait_fixed

from guide.catalog import load
from guide.manifests.autoscaling import METRIC
from guide.manifests.render import render_files
from guide.question import Cluster, ask
from guide.spec import parse_plan
from hack.controlplane.kubectl import Kubectl
from tests.e2e.conftest import ControlPlane
from tests.e2e.operator_process import eventually
from tests.e2e.test_manifests import ALLOTTED, METADATA, REVISION, added

GROUP, VERSION = "custom.metrics.k8s.io", "v1beta2"
HERE = f"/apis/{GROUP}/{VERSION}"
HPA = "horizontalpodautoscaler"
LIMIT_S = 90  # the controller looks every 15 s


class Metrics(ThreadingHTTPServer):
    """Requests/s of all pods together, dealt out evenly."""

    daemon_threads = True

    def __init__(self, kubectl: Kubectl) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.kubectl, self.rate_per_s = kubectl, 0.0
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def answer(self, path: str) -> dict[str, Any] | None:
        """What the API server of the metrics says."""
        where = unquote(path.partition("?")[0])
        if where == HERE:
            resource = {"name": f"pods/{METRIC}", "namespaced": True, "kind": "MetricValueList"}
            resources = [{**resource, "singularName": "", "verbs": ["get"]}]
            return {"kind": "APIResourceList", "groupVersion": f"{GROUP}/{VERSION}"} | {
                "resources": resources
            }
        if not where.endswith(f"/pods/*/{METRIC}"):
            return None
        namespace = where.removeprefix(f"{HERE}/namespaces/").partition("/")[0]
        pods = self.kubectl.json("-n", namespace, "get", "pods")["items"]
        return {
            "kind": "MetricValueList",
            "apiVersion": f"{GROUP}/{VERSION}",
            "metadata": {},
            "items": [
                {
                    "describedObject": {
                        "kind": "Pod",
                        "namespace": namespace,
                        "name": pod["metadata"]["name"],
                        "apiVersion": "/v1",
                    },
                    "metric": {"name": METRIC},
                    "timestamp": pod["metadata"]["creationTimestamp"],
                    "value": f"{int(1000 * self.rate_per_s / len(pods))}m",
                }
                for pod in pods
            ],
        }


class Asked(BaseHTTPRequestHandler):
    """One question."""

    server: Metrics

    def do_GET(self) -> None:
        """Answer it."""
        found = self.server.answer(self.path)
        body = json.dumps(found or {}).encode()
        self.send_response(404 if found is None else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def metrics(control_plane: ControlPlane, kubectl: Kubectl, namespace: str) -> Iterator[Metrics]:
    """The API of metrics, which the API server reaches by a name."""
    if control_plane.external:
        pytest.skip("A cluster elsewhere reaches no server of a test: unset GUIDE_E2E_KUBECONFIG.")
    server = Metrics(kubectl)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    service = {"name": "metrics", "namespace": namespace}
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": service,
            "spec": {
                "type": "ExternalName",
                "externalName": "localhost",
                "ports": [{"port": port}],
            },
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{VERSION}.{GROUP}"},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
                "service": {**service, "port": port},
            },
        },
    )
    try:
        yield server
    finally:
        kubectl("delete", "apiservice", f"{VERSION}.{GROUP}")
        server.shutdown()
        server.server_close()


def scaled_plan(
    kubectl: Kubectl, namespace: str, kind: str = "hpa"
) -> tuple[float, dict[str, Any]]:
    """The target of a plan for this cluster, and its objects by kind."""
    lengths = {"inputTokens": {"mean": 512}, "outputTokens": {"mean": 64}}
    workload = {**lengths, "dayProfile": {"low": 2, "mean": 50, "peak": 160}}
    written = parse_plan(
        {
            "apiVersion": "guide.dev/v1alpha1",
            "kind": "InferencePlan",
            "metadata": {"name": "day", "namespace": namespace},
            "spec": {
                "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
                "workload": workload,
                "slo": {"ttftP95Milliseconds": 500},
                "placement": {"gpus": ["H100-SXM"]},
                "frameworks": ["vLLM"],
            },
        }
    )
    cluster = Cluster(nodes=kubectl.json("get", "nodes")["items"])
    found = ask(written, cluster, load()).answer()
    assert found.scaling is not None
    assert found.scaling.rules.max_replicas >= 4
    files = render_files(written, found, autoscaling=kind)
    objects = [yaml.safe_load(text) for name, text in files.items() if name.endswith(".yaml")]
    return found.scaling.rules.target_per_s, {one["kind"]: one for one in objects}


def test_the_rendered_autoscaler_scales_on_its_metric_and_takes_its_time_to_give_back(
    metrics: Metrics, kubectl: Kubectl, namespace: str
):
    target_per_s, objects = scaled_plan(kubectl, namespace)
    del objects["Kustomization"]
    metrics.rate_per_s = 3.7 * target_per_s
    kubectl.apply(*objects.values())
    hpa = objects["HorizontalPodAutoscaler"]["metadata"]["name"]

    def status() -> dict[str, Any]:
        return kubectl.json("-n", namespace, "get", HPA, hpa)["status"]

    def reason(kind: str) -> str:
        return next((c["reason"] for c in status()["conditions"] if c["type"] == kind), "")

    def four() -> None:
        assert status().get("currentReplicas") == 4, json.dumps(status())

    retry(stop=stop_after_delay(LIMIT_S), wait=wait_fixed(1), reraise=True)(four)()
    live = kubectl.json("-n", namespace, "get", HPA, hpa)
    extra = set(added(live, objects["HorizontalPodAutoscaler"])) - ALLOTTED
    assert extra - {f"metadata.{key}" for key in METADATA} - {REVISION} == set()
    metrics.rate_per_s = 1.5 * target_per_s
    eventually(lambda: reason("AbleToScale") == "ScaleDownStabilized", LIMIT_S)
    name = objects["Deployment"]["metadata"]["name"]
    assert kubectl.json("-n", namespace, "get", "deployment", name)["spec"]["replicas"] == 4
