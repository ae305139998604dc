"""How long from `kubectl apply` to status, beside a handler that does nothing but write status.

    python -m hack.latency --kubeconfig FILE [--plans 20]

Both run on the same API server, one plan after the other, at rest. The do-nothing handler is kopf's
plainest: it sees the plan and patches one condition into its status.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from kubernetes import client, config, watch

ROOT = Path(__file__).resolve().parents[1]
GROUP, VERSION, PLURAL = "guide.dev", "v1alpha1", "inferenceplans"
NAMESPACE = "guide-latency"

NOTHING = """
    import datetime
    import kopf

    @kopf.on.event("guide.dev", "v1alpha1", "inferenceplans")
    def seen(event, patch, status, **_):
        if event["type"] != "DELETED" and not status.get("conditions"):
            now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            patch.status["observedGeneration"] = event["object"]["metadata"]["generation"]
            patch.status["conditions"] = [
                {"type": "Ready", "status": "True", "reason": "Nothing", "message": "Nothing.",
                 "lastTransitionTime": now}
            ]
"""


@contextmanager
def process(words: list[str], kubeconfig: Path, **environment: str) -> Iterator[None]:
    """A program against that cluster, stopped at the end."""
    running = subprocess.Popen(
        words,
        cwd=ROOT,
        env={**os.environ, "KUBECONFIG": str(kubeconfig), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        running.terminate()
        running.wait(timeout=30)


def plan(name: str) -> dict[str, Any]:
    """The example plan, under that name and with a load of its own: no answer is remembered."""
    value: dict[str, Any] = yaml.safe_load((ROOT / "examples/chat.yaml").read_text())
    value["spec"]["workload"]["requestsPerSecond"] = f"8.{int(name.rsplit('-', 1)[1]):03d}"
    return {**value, "metadata": {"name": name, "namespace": NAMESPACE}}


def latency_s(api: client.CustomObjectsApi, kubeconfig: Path, name: str) -> tuple[float, float]:
    """Seconds to the Ready condition: from the start of `kubectl apply`, and from acceptance."""
    arguments = (GROUP, VERSION, NAMESPACE, PLURAL)
    before = api.list_namespaced_custom_object(*arguments)["metadata"]["resourceVersion"]
    apply = ["kubectl", f"--kubeconfig={kubeconfig}", "apply", "-f", "-"]
    began = accepted = time.perf_counter()
    text = json.dumps(plan(name)).encode()
    user = subprocess.Popen(apply, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert user.stdin is not None
    user.stdin.write(text)
    user.stdin.close()
    stream = watch.Watch().stream(
        api.list_namespaced_custom_object,
        *arguments,
        field_selector=f"metadata.name={name}",
        resource_version=before,
        timeout_seconds=60,
    )
    for event in stream:
        if event["type"] == "ADDED":
            accepted = time.perf_counter()
        if event["object"].get("status", {}).get("conditions"):
            done = time.perf_counter()
            user.wait()
            api.delete_namespaced_custom_object(*arguments, name)
            return done - began, done - accepted
    raise TimeoutError(f"plan {name} got no status within 60 s")


def measure(
    api: client.CustomObjectsApi, kubeconfig: Path, kind: str, plans: int
) -> dict[str, list[float]]:
    """Latencies in seconds after three plans to warm up."""
    pairs: list[tuple[float, float]] = []
    for index in range(plans + 3):
        pairs.append(latency_s(api, kubeconfig, f"{kind}-{index}"))
        time.sleep(0.3)
    from_apply, from_acceptance = zip(*pairs[3:], strict=True)
    return {"from kubectl apply": [*from_apply], "from acceptance": [*from_acceptance]}


def main(
    kubeconfig: Annotated[Path, typer.Option(help="cluster with the CRD and GPU nodes")],
    plans: Annotated[int, typer.Option(help="plans to measure")] = 20,
) -> None:
    """Print both medians, both 95th percentiles and their ratios as JSON."""
    config.load_kube_config(str(kubeconfig))
    core, api = client.CoreV1Api(), client.CustomObjectsApi()
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    found: dict[str, dict[str, list[float]]] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            handler = Path(folder) / "nothing.py"
            handler.write_text(textwrap.dedent(NOTHING))
            words = [sys.executable, "-m", "kopf", "run", "--standalone", "-A", str(handler)]
            with process(words, kubeconfig):
                found["nothing"] = measure(api, kubeconfig, "nothing", plans)
        ports = {"GUIDE_METRICS_PORT": "0", "GUIDE_HEALTH_PORT": "18989"}
        words = [sys.executable, "-m", "guide_operator"]
        with process(words, kubeconfig, GUIDE_BIND_ADDRESS="127.0.0.1", **ports):
            found["guide"] = measure(api, kubeconfig, "guide", plans)
    finally:
        core.delete_namespace(NAMESPACE)
    print(json.dumps({start: figures(start, found) for start in found["guide"]}, indent=2))


def figures(start: str, found: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Medians and 95th percentiles of both handlers, and how they compare."""
    values = {name: latencies[start] for name, latencies in found.items()}
    medians = {name: statistics.median(items) for name, items in values.items()}
    p95 = {name: statistics.quantiles(items, n=20)[-1] for name, items in values.items()}
    return {
        "median_s": {name: round(value, 3) for name, value in medians.items()},
        "p95_s": {name: round(value, 3) for name, value in p95.items()},
        "ratio of medians": round(medians["guide"] / medians["nothing"], 2),
        "ratio of p95": round(p95["guide"] / p95["nothing"], 2),
    }


if __name__ == "__main__":
    typer.run(main)
