"""The tutorial that needs a cluster, run as it stands."""

from __future__ import annotations

import os
from pathlib import Path

from hack.controlplane.kubectl import Kubectl
from tests.tutorial import ROOT, walk


def test_from_a_plan_to_running_pods(kubectl: Kubectl, tmp_path: Path):
    text = (ROOT / "docs/tutorials/apply.md").read_text(encoding="utf-8")
    path = f"{kubectl.program.parent}{os.pathsep}{os.environ['PATH']}"
    try:
        assert walk(text, tmp_path, KUBECONFIG=str(kubectl.kubeconfig), PATH=path) >= 10
    finally:
        kubectl("delete", "namespace", "ml", "--wait=false", "--ignore-not-found")
