"""The chart as tests use it: its objects, and the rights that it gives its ServiceAccount."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from hack.controlplane.kubectl import Kubectl
from tests.e2e.conftest import ROOT

CHART = ROOT / "charts/guide"
RBAC_KINDS = {
    *("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Lease"),
    *("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
}


def helm(programs: Path, *words: str | Path, kubeconfig: Path | None = None) -> str:
    target = [f"--kubeconfig={kubeconfig}"] if kubeconfig else []
    result = subprocess.run(
        [programs / "helm", *map(str, words), *target], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def rendered(programs: Path, namespace: str, **values: str) -> list[dict[str, Any]]:
    flags = [f"--set={name.replace('__', '.')}={value}" for name, value in values.items()]
    words = ("template", "guide", CHART, "--namespace", namespace, "--kube-version", "1.37.0")
    return [d for d in yaml.safe_load_all(helm(programs, *words, *flags)) if d]


@contextmanager
def rights(
    kubectl: Kubectl, programs: Path, namespace: str, out: Path, **values: str
) -> Generator[Path]:
    """A kubeconfig with the token of the chart's ServiceAccount and nothing else."""
    objects = rendered(programs, namespace, fullnameOverride="guide", **values)
    objects = [one for one in objects if one["kind"] in RBAC_KINDS]
    kubectl.apply(*objects)
    config = yaml.safe_load(kubectl.kubeconfig.read_text())
    token = kubectl("-n", namespace, "create", "token", "guide").stdout.strip()
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    out.write_text(yaml.safe_dump(config))
    try:
        yield out
    finally:
        cluster_wide = [one for one in objects if one["kind"].startswith(("Cluster", "Validating"))]
        document = {"apiVersion": "v1", "kind": "List", "items": cluster_wide}
        kubectl("delete", "-f", "-", stdin=json.dumps(document))
