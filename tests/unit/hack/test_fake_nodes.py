"""hack/nodes.py: the fake nodes say what real ones say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hack.nodes import MIX, SHAPES, mixed, nodes

ROOT = Path(__file__).resolve().parents[3]
LABEL_LENGTH = 63


@pytest.mark.parametrize("shape", SHAPES)
def test_a_node_offers_its_gpus_and_its_labels_are_valid(shape: str):
    (item,) = nodes({shape: 1})
    row = SHAPES[shape]
    assert item["status"]["allocatable"][row.resource] == str(row.gpus)
    assert all(
        isinstance(value, str) and len(value) <= LABEL_LENGTH
        for value in item["metadata"]["labels"].values()
    )


def test_time_slicing_multiplies_what_is_allocatable_but_not_the_physical_count():
    (item,) = nodes({"l4-shared": 1})
    labels = item["metadata"]["labels"]
    physical, replicas = labels["nvidia.com/gpu.count"], labels["nvidia.com/gpu.replicas"]
    allocatable = int(item["status"]["allocatable"]["nvidia.com/gpu"])
    assert allocatable == int(physical) * int(replicas)


def test_mixed_deals_evenly_and_names_are_unique():
    items = mixed(12)
    names = [item["metadata"]["name"] for item in items]
    assert len(set(names)) == 12
    counts = [sum(name.startswith(f"{shape}-0") for name in names) for shape in MIX]
    assert max(counts) - min(counts) <= 1


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hack.nodes", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_prints_a_list_that_kubectl_takes():
    listing = yaml.safe_load(run("l4=2", "gke-l4=1").stdout)
    assert listing["kind"] == "List"
    names = [item["metadata"]["name"] for item in listing["items"]]
    assert names == ["l4-0000", "l4-0001", "gke-l4-0000"]


def test_an_unknown_shape_is_refused_with_the_known_ones():
    result = run("h900=1")
    assert result.returncode == 2
    assert "h100-sxm" in result.stderr
