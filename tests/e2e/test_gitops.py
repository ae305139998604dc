"""What a GitOps controller does with a rendered folder: validate, build, apply, see no drift."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from guide.catalog import load
from guide.gitops.folder import folder_files
from guide.manifests.render import formats
from hack.controlplane.kubectl import Kubectl
from hack.schemas import location, schema_dir
from tests.e2e.operator_process import eventually
from tests.handmade import RECOMMENDATION
from tests.manifest_cases import CASES, Case

ROOT = Path(__file__).resolve().parents[2]
# Their definitions are the user's: Gateway API and the Prometheus operator.
FOREIGN = {"HTTPRoute", "PodMonitor"}
ROUNDS = 12  # reconciliations, compressed from one every five minutes


def folder(case: Case, form: str = "kustomize") -> dict[str, str]:
    inventory = RECOMMENDATION.inventory
    return folder_files(case.plan, case.recommendation, load(), inventory, form=form)


def write(path: Path, files: Mapping[str, str]) -> Path:
    path.mkdir(exist_ok=True)
    for name, text in files.items():
        (path / name).write_text(text, encoding="utf-8")
    return path


def build(programs: Path, path: Path, *flags: str) -> list[dict[str, Any]]:
    command = [programs / "kustomize", "build", *flags, path]
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    built = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert built.returncode == 0, built.stderr
    return [item for item in yaml.safe_load_all(built.stdout) if item]


@pytest.mark.parametrize("name", CASES)
def test_every_case_is_valid_builds_and_is_accepted(
    programs: Path, kubectl: Kubectl, namespace: str, tmp_path: Path, name: str
):
    files = folder(CASES[name])
    assert folder(CASES[name]) == files
    path = write(tmp_path / "base", files)
    built = build(programs, path)
    listed = yaml.safe_load(files["kustomization.yaml"])["resources"]
    assert len(built) == len(listed)
    for item in built:
        item["metadata"]["namespace"] = namespace
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": built})
    skipped = f"-skip={','.join(sorted(FOREIGN))}"
    conform = subprocess.run(
        [
            programs / "kubeconform",
            "-strict",
            skipped,
            f"-schema-location={location(schema_dir())}",
            *(path / name for name in listed),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert conform.returncode == 0, conform.stdout + conform.stderr
    known = [item for item in built if item["kind"] not in FOREIGN]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": known})
    flags = ("--dry-run=server", "--server-side", "--validate=strict", "--field-manager=argocd")
    said = kubectl("apply", *flags, "-f", "-", stdin=text).stdout
    assert said.count("serverside-applied (server dry run)") == len(known)


def test_pods_of_the_other_forms_are_accepted(kubectl: Kubectl, namespace: str):
    """Their own definitions are not in the cluster, but the pods inside them must be valid."""
    for form, of in (("leaderworkerset", "vllm"), ("llminferenceservice", "all-options")):
        files = folder(CASES[of], form)
        spec = yaml.safe_load(files[f"{form}-0.yaml"])["spec"]
        templates = (
            [spec["leaderWorkerTemplate"][k]["spec"] for k in ("leaderTemplate", "workerTemplate")]
            if form == "leaderworkerset"
            else [spec["template"]]
        )
        for template in templates:
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "try", "namespace": namespace},
                "spec": template,
            }
            flags = ("--dry-run=server", "--server-side", "--validate=strict")
            kubectl("apply", *flags, "-f", "-", stdin=json.dumps(pod))


def test_every_form_but_values_builds_with_kustomize(programs: Path, tmp_path: Path):
    for form in sorted(set(formats()) - {"helm-values"}):
        assert build(programs, write(tmp_path / form, folder(CASES["vllm"], form)))


@pytest.fixture
def base(tmp_path: Path, namespace: str) -> Path:
    """The plain case as a base, and an overlay that puts it into the namespace."""
    write(tmp_path / "base", folder(CASES["vllm"]))
    overlay = {"resources": ["../base"], "namespace": namespace}
    return write(tmp_path / "overlay", {"kustomization.yaml": yaml.safe_dump(overlay)})


def drift(kubectl: Kubectl, path: Path) -> str:
    """What a reconciliation would change: empty when live and wanted are the same."""
    flags = ("--server-side", "--force-conflicts", "--field-manager=argocd", "-k", path)
    found = kubectl("diff", *flags, check=False)
    assert found.returncode in {0, 1}, found.stderr
    assert bool(found.stdout) is bool(found.returncode)
    return found.stdout


def test_a_reconciled_folder_shows_no_drift_while_pods_come_and_go(
    kubectl: Kubectl, namespace: str, base: Path
):
    apply = ("apply", "--server-side", "--field-manager=argocd", "-k", base)
    kubectl(*apply)
    resource_version = ""
    for number in range(ROUNDS):
        # a controller may write status between the two reads of `kubectl diff`
        eventually(lambda: drift(kubectl, base) == "", 10)
        said = kubectl(*apply).stdout
        assert "serverside-applied" in said
        live = kubectl.json("-n", namespace, "get", "deployment", "chat-0")
        assert live["metadata"]["generation"] == 1  # nothing that was applied changed the spec
        resource_version = live["metadata"]["resourceVersion"]
        if number % 4 == 1:  # pods die and are made again, as within an hour
            kubectl("-n", namespace, "delete", "pods", "--all", "--wait=false")
        time.sleep(0.2)
    assert resource_version


def test_a_change_made_in_the_cluster_is_drift(kubectl: Kubectl, namespace: str, base: Path):
    kubectl("apply", "--server-side", "--field-manager=argocd", "-k", base)
    kubectl("-n", namespace, "scale", "deployment/chat-0", "--replicas=1")
    assert "replicas: 1" in drift(kubectl, base)


def test_kustomize_calls_the_function(programs: Path, tmp_path: Path):
    shutil.copytree(ROOT / "docs/gitops/kustomize", tmp_path / "fn")
    built = build(programs, tmp_path / "fn", "--enable-alpha-plugins", "--enable-exec")
    assert sorted(item["kind"] for item in built) == [
        "Deployment",
        "PodDisruptionBudget",
        "Service",
    ]
    assert all("annotations" not in item["metadata"] for item in built)


def test_kubectl_finds_the_plugin(kubectl: Kubectl, tmp_path: Path):
    script = Path(sys.executable).parent / "kubectl-guide"
    assert script.is_file()
    env = {**os.environ, "PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}"}
    for arguments, wanted in (
        (["guide", "--version"], "guide "),
        (["plugin", "list"], str(script)),
    ):
        result = subprocess.run(
            [kubectl.program, *arguments], capture_output=True, text=True, check=False, env=env
        )
        assert wanted in result.stdout
