"""Plans on slices and shared GPUs: one part a replica, and no more memory than its own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.domain import Reason, Recommendation
from guide.errors import SpecError
from guide.manifests.render import build_objects
from guide.search.recommend import recommend
from guide.spec import InferencePlan, parse_plan, resolve_plan
from hack import nodes as fake
from tests.golden.test_inventory import HERE

CATALOG = load()
PLAN: dict[str, Any] = {
    "apiVersion": "guide.dev/v1alpha1",
    "kind": "InferencePlan",
    "metadata": {"name": "small", "namespace": "ml"},
    "spec": {
        "model": {"name": "Qwen/Qwen2.5-0.5B-Instruct"},
        "workload": {
            "inputTokens": {"mean": 256},
            "outputTokens": {"mean": 64},
            "concurrency": 1,
        },
        "frameworks": ["vLLM"],
    },
}


def answered(nodes: list[Any], gpu: str) -> tuple[InferencePlan, Recommendation]:
    value = copy.deepcopy(PLAN)
    value["spec"]["placement"] = {"gpus": [gpu]}
    written = parse_plan(value)
    plan = resolve_plan(written, CATALOG)
    return written, recommend(plan, read_inventory(nodes, [], CATALOG), CATALOG)


def server(written: InferencePlan, found: Recommendation) -> dict[str, Any]:
    assert found.best is not None
    objects = dict(build_objects(written, found.best))
    return objects["deployment-0.yaml"]["spec"]["template"]["spec"]["containers"][0]


def test_a_small_model_runs_on_one_slice_and_never_on_two():
    nodes = yaml.safe_load((HERE / "mig-mixed/nodes.yaml").read_text())["items"]
    written, found = answered(nodes, "H100-SXM-MIG-1g.10gb")
    container = server(written, found)
    assert container["resources"]["limits"] == {"nvidia.com/mig-1g.10gb": "1"}
    assert found.best is not None
    assert found.best.provenance.value == "Extrapolated"
    share = found.best.groups[0].group.limits.gpu_memory_utilization
    assert f"--gpu-memory-utilization={share:.2f}" in container["args"]
    shared = [r for r in found.rejections if r.reason is Reason.SHARED_GPU]
    assert shared
    assert all("slices of H100-SXM, with no link" in r.detail for r in shared)


def test_the_whole_gpus_name_allows_its_slices_too():
    nodes = yaml.safe_load((HERE / "mig-mixed/nodes.yaml").read_text())["items"]
    _, found = answered(nodes, "H100-SXM")
    pools = {r.candidate.groups[0].pool.name for r in found.rejections if r.candidate}
    assert {"h100-sxm-x4", "h100-sxm-mig-3g-40gb-x4"} <= pools


def test_a_turn_on_a_shared_gpu_leaves_the_memory_of_the_others_alone():
    written, found = answered(fake.nodes({"l4-shared": 1}), "L4")
    args = server(written, found)["args"]
    stated = next(text for text in args if text.startswith("--gpu-memory-utilization="))
    share = float(stated.split("=")[1])
    assert found.best is not None
    limit = found.best.groups[0].group.limits.gpu_memory_utilization
    assert share == pytest.approx(limit / 4, abs=1e-3)
    assert share <= limit / 4
    assert any("1/4 of its memory" in note for note in found.notes)


def test_an_unknown_part_of_a_gpu_is_refused():
    with pytest.raises(SpecError, match="not in the catalogue"):
        answered([], "H100-SXM-MIG")
