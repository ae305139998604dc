"""A pod that asks what is deployed, from inside whichever cluster it is."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from tenacity import retry, stop_after_delay, wait_fixed

from hack.controlplane.kubectl import Kubectl

NAMESPACE = "clients"
ASK = """
import sys, urllib.request
url, *body = sys.argv[1:]
kind = {"Content-Type": "application/json"}
asked = urllib.request.Request(url, *(each.encode() for each in body), headers=kind)
print(urllib.request.urlopen(asked, timeout=20).read().decode())
"""


@dataclass(frozen=True, slots=True)
class Client:
    """Runs Python in the pod."""

    kubectl: Kubectl

    def words(self, *arguments: str) -> list[str]:
        """What kubectl is told to run Python with arguments there."""
        return ["-n", NAMESPACE, "exec", "client", "--", "python", *arguments]

    def ask(self, url: str, *body: str) -> str:
        """What a server answers; with a body it is posted, as JSON."""
        return self.kubectl(*self.words("-c", ASK, url, *body)).stdout


@contextmanager
def client_pod(kubectl: Kubectl, image: str) -> Generator[Client]:
    """One that has the stand-in's load, for as long as the block runs."""
    container = {
        "name": "client",
        "image": image,
        "command": ["python", "-c", "import time; time.sleep(86400)"],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "client", "namespace": NAMESPACE},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    kubectl("create", "namespace", NAMESPACE)
    try:
        _account(kubectl)
        kubectl.apply(pod)
        kubectl("-n", NAMESPACE, "wait", "pod/client", "--for=condition=Ready", "--timeout=120s")
        yield Client(kubectl)
    finally:
        kubectl("delete", "namespace", NAMESPACE)


@retry(stop=stop_after_delay(20), wait=wait_fixed(0.2), reraise=True)
def _account(kubectl: Kubectl) -> None:
    kubectl("-n", NAMESPACE, "get", "serviceaccount", "default")
