"""An image whose tag says its CUDA, on nodes whose labels say their driver."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.domain import Inventory, Lengths, Plan, Reason, Workload
from guide.frameworks.launches import image_cuda
from guide.search.bounds import driver_too_old
from guide.search.recommend import recommend
from guide.search.space import shapes

CATALOG = load()
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
PLAN = Plan(
    model=CATALOG.models["meta-llama/Llama-3.1-8B-Instruct"],
    workload=Workload(
        prompt=Lengths(mean_tokens=500),
        output=Lengths(mean_tokens=100),
        requests_per_s=1,
    ),
    frameworks=("SGLang", "vLLM"),
)


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    nodes = yaml.safe_load((EXAMPLES / "nodes.yaml").read_text(encoding="utf-8"))["items"]
    return read_inventory(nodes, (), CATALOG)


@pytest.mark.parametrize(
    ("image", "cuda"),
    [
        ("lmsysorg/sglang:v0.5.20-cu130", 13),
        ("lmsysorg/sglang:v0.5.19-cu129", 12),
        ("lmsysorg/sglang:v0.4.6-cu118-srt@sha256:00", 11),
        ("vllm/vllm-openai:v0.33.0-cu129", 12),
        ("lmsysorg/sglang:v0.5.20", None),
        ("registry.example/cu130/sglang:v0.5.20", None),
    ],
)
def test_a_tag_says_its_cuda(image: str, cuda: int | None):
    assert image_cuda(image) == cuda


def test_pools_know_their_oldest_driver(inventory: Inventory):
    assert {pool.driver for pool in inventory.pools} == {570}


@pytest.mark.parametrize("framework", ["SGLang", "vLLM"])
def test_a_driver_that_is_too_old_for_the_image_is_one_sentence(
    inventory: Inventory, framework: str
):
    def broken(image: str | None, driver: int | None = 570) -> set[str]:
        plan = replace(PLAN, images=((framework, image),) if image else ())
        pools = tuple(replace(pool, driver=driver) for pool in inventory.pools[:1])
        found = [
            driver_too_old(one)
            for one in shapes(plan, Inventory(pools=pools), CATALOG)
            if one.release.framework == framework
        ]
        assert found
        assert all(one is None or one.reason is Reason.DRIVER_TOO_OLD for one in found)
        return {one.detail if one else "" for one in found}

    (said,) = broken("repo/image:v0.5.20-cu130")
    name = inventory.pools[0].name
    assert said == (
        "repo/image:v0.5.20-cu130 is built on CUDA 13, which needs NVIDIA driver 580 or later, "
        f"and nodes of {name} have 570"
    )
    assert broken("repo/image:v0.5.19-cu129") == {""}
    assert broken("repo/image:v0.5.20-cu130", 580) == {""}
    assert broken("repo/image:v0.5.20-cu130", None) == {""}
    assert broken("repo/image:v0.5.20") == broken(None) == {""}


def test_the_answer_says_so_once(inventory: Inventory):
    plan = replace(
        PLAN, frameworks=("SGLang",), images=(("SGLang", "lmsysorg/sglang:v0.5.23-cu130"),)
    )
    found = recommend(plan, Inventory(pools=inventory.pools[:1]), CATALOG)
    assert found.best is None
    assert [note for note in found.notes if "driver 580 or later" in note] == [
        "lmsysorg/sglang:v0.5.23-cu130 is built on CUDA 13, which needs NVIDIA driver 580 or "
        f"later, and nodes of {inventory.pools[0].name} have 570: name an image with an older "
        "CUDA, or renew the driver"
    ]
