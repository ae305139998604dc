"""kubeconform with our local schemas accepts good manifests and refuses bad ones, offline."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hack.schemas import crd_schema, location, schema_dir

DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d"},
    "spec": {
        "selector": {"matchLabels": {"app": "d"}},
        "template": {
            "metadata": {"labels": {"app": "d"}},
            "spec": {
                "containers": [
                    {
                        "name": "c",
                        "image": "i:1",
                        "resources": {"limits": {"nvidia.com/gpu": "1"}},
                    }
                ]
            },
        },
    },
}
CLAIM: dict[str, Any] = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "ResourceClaim",
    "metadata": {"name": "one-gpu"},
    "spec": {
        "devices": {"requests": [{"name": "g", "exactly": {"deviceClassName": "gpu.nvidia.com"}}]}
    },
}
CRD: dict[str, Any] = {
    "spec": {
        "group": "shapes.example",
        "names": {"kind": "Circle"},
        "versions": [
            {
                "name": "v1",
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"radius": {"type": "integer"}},
                            }
                        },
                    }
                },
            }
        ],
    }
}


def kubeconform(programs: Path, item: dict[str, Any], *folders: Path) -> str:
    """Empty when the manifest is valid, else kubeconform's message."""
    locations = [f"-schema-location={location(f)}" for f in (schema_dir(), *folders)]
    result = subprocess.run(
        [programs / "kubeconform", "-strict", *locations, "-"],
        input=json.dumps(item),
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout + result.stderr if result.returncode else ""


@pytest.mark.parametrize("item", [DEPLOYMENT, CLAIM], ids=lambda item: item["kind"])
def test_a_good_manifest_passes(programs: Path, item: dict[str, Any]):
    assert kubeconform(programs, item) == ""


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({**DEPLOYMENT["spec"], "replica": 2}, "replica"),
        ({**DEPLOYMENT["spec"], "replicas": "two"}, "/spec/replicas"),
        ({"template": DEPLOYMENT["spec"]["template"]}, "selector"),
    ],
)
def test_a_bad_manifest_is_refused(programs: Path, spec: dict[str, Any], complaint: str):
    assert complaint in kubeconform(programs, {**DEPLOYMENT, "spec": spec})


def test_an_own_kind_is_checked_by_the_schema_of_its_crd(programs: Path, tmp_path: Path):
    name, schema = crd_schema(CRD, "v1")
    (tmp_path / name).write_text(json.dumps(schema), encoding="utf-8")
    circle = {"apiVersion": "shapes.example/v1", "kind": "Circle", "metadata": {"name": "c"}}
    assert kubeconform(programs, {**circle, "spec": {"radius": 1}}, tmp_path) == ""
    assert "diameter" in kubeconform(programs, {**circle, "spec": {"diameter": 1}}, tmp_path)
