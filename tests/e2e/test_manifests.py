"""Rendered manifests on a real API server: accepted strictly, and nothing is added to them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from guide.manifests.benchmark import benchmarks
from guide.manifests.render import build_objects, render_files
from hack.controlplane.kubectl import Kubectl
from tests.manifest_cases import BATCHES, CASES

# Their definitions are the user's: Gateway API and the Prometheus operator.
FOREIGN = {"HTTPRoute", "PodMonitor"}
# What the server allots, object by object.
ALLOTTED = {"status", "spec.clusterIP", "spec.clusterIPs", "spec.ipFamilies"}
METADATA = {"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"}
REVISION = "metadata.annotations"
ALL = CASES | BATCHES


def added(live: Any, written: Any, path: str = "") -> Iterator[str]:
    """Paths that the server holds and the file lacks, or holds differently."""
    if isinstance(live, dict) and isinstance(written, dict):
        for key, value in live.items():
            below = f"{path}.{key}".removeprefix(".")
            if key in written:
                yield from added(value, written[key], below)
            else:
                yield below
    elif isinstance(live, list) and isinstance(written, list) and len(live) == len(written):
        for index, (left, right) in enumerate(zip(live, written, strict=True)):
            yield from added(left, right, f"{path}[{index}]")
    elif live != written:
        yield path


@pytest.mark.parametrize("name", ALL)
def test_the_server_takes_the_files_and_adds_no_default(
    kubectl: Kubectl, namespace: str, name: str
):
    files = render_files(ALL[name].plan, ALL[name].recommendation)
    for file, text in files.items():
        value = yaml.safe_load(text) if file.endswith(".yaml") else {}
        if not value or file == "kustomization.yaml" or value["kind"] in FOREIGN:
            continue
        value["metadata"]["namespace"] = namespace
        kubectl.apply(value)
        where = ("-n", namespace, "get", value["kind"], value["metadata"]["name"])
        extra = set(added(kubectl.json(*where), value)) - ALLOTTED
        extra -= {f"metadata.{key}" for key in METADATA} | {REVISION}
        if value["kind"] == "Job":  # by which it finds its pods
            extra = {path for path in extra if ".template.metadata.labels" not in path}
            extra -= {"spec.selector"}
        assert extra == set()


@pytest.mark.parametrize("name", ["vllm", "sglang", "fastgen", "two-pools-weighted", "long-name"])
def test_the_server_takes_the_benchmark_and_adds_only_its_marks(
    kubectl: Kubectl, namespace: str, name: str
):
    best = CASES[name].recommendation.best
    assert best is not None
    for _, job in benchmarks(CASES[name].plan, best, "kustomize"):
        job["metadata"]["namespace"] = namespace
        answer = kubectl(
            *("create", "--dry-run=server", "--validate=strict", "-o", "json", "-f", "-"),
            stdin=json.dumps(job),
        )
        extra = set(added(json.loads(answer.stdout), job)) - ALLOTTED
        extra -= {f"metadata.{key}" for key in METADATA} | {REVISION, "spec.selector"}
        assert {path for path in extra if ".metadata.labels" not in path} == {
            "spec.template.metadata.creationTimestamp"
        } & extra


@pytest.mark.parametrize("name", ALL)
def test_kustomize_builds_the_folder(programs: Path, tmp_path: Path, name: str):
    for file, text in render_files(ALL[name].plan, ALL[name].recommendation).items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    command = [programs / "kustomize", "build", tmp_path]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    kinds = [o["kind"] for o in yaml.safe_load_all(built.stdout)]
    assert ("Job" if name in BATCHES else "Deployment") in kinds


@pytest.mark.parametrize("name", ALL)
def test_a_restricted_namespace_takes_the_pods(kubectl: Kubectl, namespace: str, name: str):
    level = "pod-security.kubernetes.io/enforce=restricted"
    kubectl("label", "namespace", namespace, level)
    if name == "production":  # what its plan names is there
        kubectl("-n", namespace, "create", "serviceaccount", "models")
        kubectl("create", "priorityclass", "serving", "--value=1000", check=False)
    best = ALL[name].recommendation.best
    assert best is not None
    values = build_objects(ALL[name].plan, best)
    if name not in BATCHES:
        values += benchmarks(ALL[name].plan, best, "kustomize")
    for _, value in values:
        if value["kind"] not in {"Deployment", "Job"}:
            continue
        pod: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", **value["spec"]["template"]}
        pod["metadata"] = {**pod["metadata"], "name": "one", "namespace": namespace}
        pod["spec"] = {**pod["spec"], "restartPolicy": "Never"}
        args = ("create", "--dry-run=server", "--validate=strict", "-f", "-")
        refused = {"amd": "runAsNonRoot", "node-cache": "hostPath"}.get(name)
        if refused and value["kind"] in ("Deployment", *(["Job"] if name == "node-cache" else [])):
            with pytest.raises(AssertionError, match=refused):
                kubectl(*args, stdin=json.dumps(pod))
        else:
            kubectl(*args, stdin=json.dumps(pod))
