"""A plan whose pods run on the test node: real servers of the API, without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from tenacity import retry, stop_after_delay, wait_fixed

from guide_operator.pods import trouble
from hack.controlplane.kubectl import Kubectl

MODEL = "meta-llama/Llama-3.1-8B-Instruct"  # of the example
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "chat.yaml"


def plan(namespace: str, name: str, image: str, replicas: int = 1) -> dict[str, Any]:
    """The example of the README in mode Apply, served by an image on so many GPUs.

    Fewer GPUs could not serve its requests, larger replicas are not more of them, and a third of
    what they can do is left, so that what is learnt of them breaks no service level.
    """
    document = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    document["metadata"] = {"name": name, "namespace": namespace}
    spec = document["spec"]
    spec["output"] = {"mode": "Apply"}
    spec["workload"]["requestsPerSecond"] = 9 * replicas
    spec["budget"] = {"billing": "FreeGPUs", "maxGPUs": replicas}
    spec["deployment"]["image"] = image
    return document


def condition(kubectl: Kubectl, namespace: str, name: str, kind: str) -> dict[str, Any]:
    """A condition of a plan; empty while there is none."""
    status = kubectl.json("-n", namespace, "get", "inferenceplan", name).get("status", {})
    for found in status.get("conditions", []):
        if found["type"] == kind:
            return found
    return {}


def ready(kubectl: Kubectl, namespace: str, name: str, limit_s: float = 120) -> None:
    """Wait until a plan is Ready, that is, until its real pods are."""

    @retry(stop=stop_after_delay(limit_s), wait=wait_fixed(0.5), reraise=True)
    def asserted() -> None:
        found = condition(kubectl, namespace, name, "Ready")
        pods = kubectl("-n", namespace, "get", "pods", "-o", "wide", check=False).stdout
        assert found.get("status") == "True", f"{found}\n{pods}"

    asserted()


def servers(kubectl: Kubectl, namespace: str, name: str) -> list[dict[str, Any]]:
    """The pods of a plan that are not on their way out."""
    pods = kubectl.json("-n", namespace, "get", "pods", "-l", f"guide.dev/plan={name}")["items"]
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def stuck(pods: list[dict[str, Any]]) -> str:
    """Why pods cannot start, where waiting is not likely to help; empty if they may yet."""
    return "; ".join(str(why) for pod in pods if (why := trouble(pod)) and why.stuck)


def names_when_ready(kubectl: Kubectl, namespace: str, name: str, count: int) -> list[str]:
    """Sorted names of a plan's pods, once `count` of them are Ready and no other is left."""

    @retry(stop=stop_after_delay(120), wait=wait_fixed(0.5), reraise=True)
    def asserted() -> list[str]:
        states = [
            (pod["metadata"]["name"], c["status"])
            for pod in servers(kubectl, namespace, name)
            for c in pod.get("status", {}).get("conditions", [])
            if c["type"] == "Ready"
        ]
        assert [state for _, state in states] == ["True"] * count, states
        return sorted(pod for pod, _ in states)

    return asserted()


@contextmanager
def serving(
    kubectl: Kubectl, namespace: str, name: str, image: str, replicas: int
) -> Iterator[str]:
    """The address of the Service of a plan with so many Ready replicas, deleted afterwards."""
    kubectl.apply(plan(namespace, name, image, replicas))
    try:
        ready(kubectl, namespace, name)
        names_when_ready(kubectl, namespace, name, replicas)
        found = kubectl.json("-n", namespace, "get", "services", "-l", f"guide.dev/plan={name}")
        spec = found["items"][0]["spec"]
        yield f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"
    finally:
        kubectl("-n", namespace, "delete", "inferenceplan", name)
