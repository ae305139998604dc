"""Slices, shared GPUs, prices by instance, node pools to come, and what a changed node touches."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guide.catalog import load
from guide.catalog.slicing import amd_partition, mig_slice, time_share
from guide.cluster.inventory import Memory, read_inventory
from guide.cluster.potential import with_potential
from guide.domain import Billing, GpuPool, Inventory, Price
from guide.errors import CatalogError, SpecError
from guide.search.pricing import NO_SPOT_PRICE, priced, usd_per_h
from guide.spec.lock import LockedInventory
from guide.spec.node_pools import read_node_pools
from guide.units import GIB, MIB
from hack import nodes as fake

CATALOG = load()
H100, A100, MI300X = (CATALOG.gpus[name] for name in ("H100-SXM", "A100-SXM4-40GB", "MI300X"))


@pytest.mark.parametrize(
    ("gpu", "profile", "memory_share", "compute_share"),
    [
        ("A100-SXM4-40GB", "1g.5gb", 1 / 8, 1 / 8),
        ("A100-SXM4-40GB", "1g.10gb", 2 / 8, 1 / 8),
        ("A100-80GB", "3g.40gb", 4 / 8, 3 / 8),
        ("H100-SXM", "1g.10gb.me", 1 / 8, 1 / 8),
        ("H200", "3g.71gb", 4 / 8, 3 / 8),
        ("A30", "2g.12gb", 2 / 4, 2 / 4),
        ("B200", "1g.23gb", 1 / 8, 1 / 8),
        ("RTXPRO6000", "1g.24gb", 1 / 4, 1 / 4),
        ("A100-80GB", "7g.80gb", 1, 7 / 8),
    ],
)
def test_a_profile_has_its_share(gpu: str, profile: str, memory_share: float, compute_share: float):
    whole = CATALOG.gpus[gpu]
    part = mig_slice(whole, profile)
    assert part is not None
    assert part.parent == gpu
    assert part.hbm_bytes_per_s == pytest.approx(memory_share * whole.hbm_bytes_per_s)
    assert part.fp16_flop_per_s == pytest.approx(compute_share * whole.fp16_flop_per_s)
    assert part.hbm_bytes <= memory_share * whole.hbm_bytes


def test_what_a_node_says_of_a_slice_wins_over_the_profile():
    part = mig_slice(H100, "3g.40gb", 39_000 * MIB, 60)
    assert part is not None
    assert part.hbm_bytes == 39_000 * MIB
    assert part.fp16_flop_per_s == pytest.approx(60 / 132 * H100.fp16_flop_per_s)


@pytest.mark.parametrize("profile", ["1c.3g.40gb", "9g.80gb", "1g.200gb", "nonsense", "1g.0gb"])
def test_what_is_no_slice_of_this_gpu_is_not_modelled(profile: str):
    assert mig_slice(H100, profile) is None
    assert mig_slice(CATALOG.gpus["L4"], "1g.5gb") is None
    assert amd_partition(MI300X, profile) is None


def test_turns_on_a_slice_share_what_the_slice_has():
    part = mig_slice(A100, "2g.10gb", 10_000 * MIB)
    assert part is not None
    turn = time_share(part, 2)
    assert (turn.parent, turn.parent_share) == ("A100-SXM4-40GB", 1 / 8)
    assert (turn.hbm_bytes, turn.seen_bytes) == (5_000 * MIB, 10_000 * MIB)


def pool(**changes: Any) -> GpuPool:
    base = GpuPool(
        name="p",
        gpu=H100,
        product="x",
        source="gfd",
        resource="nvidia.com/gpu",
        gpus_per_node=8,
        free_gpus_by_node=(8,),
    )
    return replace(base, **changes)


def price_of(one: GpuPool, prices: Path | None = None) -> GpuPool:
    return priced(Inventory(pools=(one,)), load(prices=prices)).pools[0]


def test_a_whole_instance_is_billed_by_its_type_and_spot_apart():
    on_demand = price_of(pool(instance_types=("p5.48xlarge",), region="us-east-1"))
    assert usd_per_h(on_demand, 1, 1) == pytest.approx(55.04)
    assert usd_per_h(on_demand, 8, 1) == pytest.approx(55.04)
    assert on_demand.price is not None
    assert "AWS p5.48xlarge in us-east-1 on-demand" in on_demand.price.source
    spot = price_of(pool(instance_types=("p5.48xlarge",), spot=True))
    assert spot.price is not None
    assert usd_per_h(spot, 1, 1) == pytest.approx(17.6289)
    assert NO_SPOT_PRICE not in spot.notes
    no_spot = price_of(pool(instance_types=("g4dn.12xlarge",), spot=True))
    assert NO_SPOT_PRICE in no_spot.notes
    assert price_of(spot) == spot  # pricing twice changes nothing


def test_the_users_prices_come_first_and_the_clusters_own_before_all(tmp_path: Path):
    file = tmp_path / "prices.yaml"
    file.write_text(
        "instances:\n- {provider: us, instance_type: p5.48xlarge, usd_per_h: 8, as_of: 2026-11,"
        " source: contract 7}\nrows:\n- {gpu: H100-SXM, provider: us, usd_per_gpu_h: 2,"
        " as_of: 2026-11-01, source: contract 8}\n"
    )
    by_type = price_of(pool(instance_types=("p5.48xlarge",)), file).price
    assert by_type == Price(
        usd_per_gpu_h=1,
        billed_gpus=8,
        source="us p5.48xlarge on-demand, contract 7",
        as_of="2026-11",
    )
    by_gpu = price_of(pool(instance_types=("p5.4xlarge",)), file).price
    assert by_gpu is not None
    assert "contract 8" in by_gpu.source
    own = Price(usd_per_gpu_h=9, source="node annotation", as_of="live")
    assert price_of(pool(price=own), file).price == replace(own, billed_gpus=8)
    assert price_of(pool(gpu=CATALOG.gpus["MI210"])).price is None


@pytest.mark.parametrize("name", ["H100-SXM", "H200", "A100-80GB", "L40S"])
def test_whole_nodes_are_billed_by_their_size_whatever_the_row_said(name: str):
    one = pool(gpu=CATALOG.gpus[name])
    by_node = price_of(one)
    assert by_node.price is not None
    per_gpu = by_node.price.usd_per_gpu_h
    assert usd_per_h(by_node, 2, 1) == pytest.approx(8 * per_gpu)
    assert usd_per_h(by_node, 2, 5) == pytest.approx(16 * per_gpu)
    paid = priced(Inventory(pools=(one,)), CATALOG, Billing.FREE_GPUS).pools[0]
    assert usd_per_h(paid, 2, 1) == pytest.approx(2 * per_gpu)
    grown = price_of(pool(gpu=CATALOG.gpus[name], potential=True))
    assert usd_per_h(grown, 2, 1) == pytest.approx(8 * per_gpu)


@pytest.mark.parametrize("name", ["H100-SXM", "H200", "B200", "A100-80GB"])
def test_no_sellers_price_stands_beside_anothers(name: str):
    price = CATALOG.prices[name]
    assert price.sellers >= 3
    assert price.low_usd_per_gpu_h is not None
    assert price.high_usd_per_gpu_h is not None
    assert price.low_usd_per_gpu_h < price.usd_per_gpu_h < price.high_usd_per_gpu_h
    assert price.source.startswith("reference on-demand, median of")
    assert price.as_of != "unknown"


def test_a_slice_costs_its_share():
    part = mig_slice(H100, "3g.40gb")
    found = price_of(pool(gpu=part, gpus_per_node=2)).price
    assert found is not None
    assert found.usd_per_gpu_h == pytest.approx(CATALOG.prices["H100-SXM"].usd_per_gpu_h / 2)


def test_a_bad_price_file_is_refused_with_its_row(tmp_path: Path):
    file = tmp_path / "prices.yaml"
    file.write_text("instances:\n- {provider: us, instance_type: x, usd_per_h: 0}\n")
    with pytest.raises(CatalogError, match=r"row 1 \(x\): usd_per_h"):
        load(prices=file)


POOLS = """
nodePools:
- {name: burst, gpu: H100-SXM, gpusPerNode: 8, maxNodes: 3, usdPerHour: "31.2",
   nodeSelector: {pool: burst}, tolerations: [{key: gpu, operator: Exists}]}
"""


def test_nodes_that_exist_count_against_a_pool_that_could_grow():
    there = {"metadata": {"name": "n", "labels": {"pool": "burst"}}}
    asked = read_node_pools(POOLS, "pools.yaml")
    empty = with_potential(Inventory(pools=()), asked, [], CATALOG).pools[0]
    assert (empty.potential, empty.free_gpus_by_node) == (True, (8, 8, 8))
    assert empty.tolerations == ((("key", "gpu"), ("operator", "Exists")),)
    assert usd_per_h(empty, 1, 1) == pytest.approx(31.2)
    grown = with_potential(Inventory(pools=()), asked, [there], CATALOG).pools[0]
    assert grown.free_gpus_by_node == (8, 8)
    elsewhere = with_potential(Inventory(pools=()), asked, [], CATALOG, (("zone", "a"),))
    assert elsewhere.pools == ()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("maxNodes: 3|maxNodes: 0", r"nodePools\[0\].maxNodes"),
        ("gpusPerNode: 8|gpus: 8", "gpus"),
        ("nodeSelector: {pool: burst}|nodeSelector: {}", "nodeSelector"),
        ('"31.2"|.inf', "inf is no positive decimal"),
    ],
)
def test_a_bad_node_pool_is_one_sentence(change: str, sentence: str):
    old, new = change.split("|")
    with pytest.raises(SpecError, match=sentence):
        read_node_pools(POOLS.replace(old, new), "pools.yaml")


def test_a_node_pool_of_an_unknown_gpu_says_how_to_add_it():
    asked = read_node_pools(POOLS.replace("H100-SXM", "Z9"), "pools.yaml")
    with pytest.raises(SpecError, match="--gpus FILE"):
        with_potential(Inventory(pools=()), asked, [], CATALOG)


def test_a_user_can_add_a_gpu(tmp_path: Path):
    file = tmp_path / "gpus.yaml"
    file.write_text(
        "rows:\n- {name: Z9, vendor: nvidia, generation: hopper, compute_capability: '9.0',"
        " memory_gb: 80, bandwidth_gb_per_s: 3000, tflops: {fp16: 800, bf16: 800},"
        " link: {kind: pcie, gb_per_s: 64}, aliases: [NVIDIA-Z9], source: ours}\n"
    )
    resources = {"nvidia.com/gpu": "2"}
    node = {
        "metadata": {"name": "n", "labels": {"nvidia.com/gpu.product": "NVIDIA-Z9"}},
        "status": {"capacity": resources, "allocatable": resources},
    }
    assert read_inventory([node], [], CATALOG).pools[0].gpu is None
    found = read_inventory([node], [], load(extra_gpus=file)).pools[0].gpu
    assert found is not None
    assert (found.name, round(found.hbm_bytes / GIB, 1)) == ("Z9", 79.2)


def test_parts_survive_the_lock_file():
    parts = (mig_slice(H100, "1g.10gb"), time_share(CATALOG.gpus["L4"], 4), H100)
    pools = tuple(
        pool(name=f"p{i}", gpu=part, instance_types=("a",), region="r", spot=True, node_share=0.5)
        for i, part in enumerate(parts)
    )
    before = Inventory(pools=pools)
    assert LockedInventory.of(before).to_domain(CATALOG) == before


def test_a_relabelled_node_touches_only_its_pools():
    nodes = fake.nodes({"h100-sxm": 3, "l40s": 3, "amd-mi300x": 3})
    memory = Memory()
    before = {p.name: p for p in read_inventory(nodes, [], CATALOG, memory=memory).pools}
    changed = copy.deepcopy(nodes[0])
    changed["metadata"]["labels"]["nvidia.com/gpu.product"] = "NVIDIA-H100-PCIe"
    later = read_inventory([changed, *nodes[1:]], [], CATALOG, memory=memory)
    after = {p.name: p for p in later.pools}
    assert set(after) - set(before) == {"h100-pcie-x8"}
    assert {n for n in before if after.get(n) is before[n]} == set(before) - {"h100-sxm-x8"}
    fresh = read_inventory([changed, *nodes[1:]], [], CATALOG)
    assert later == fresh
    passing = copy.deepcopy(changed)
    passing["metadata"]["labels"]["nvidia.com/gfd.timestamp"] = "1900000000"
    passing["status"]["conditions"] = [
        {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-11-25T00:00:00Z"}
    ]
    again = read_inventory([passing, *nodes[1:]], [], CATALOG, memory=memory)
    assert all(a is b for a, b in zip(again.pools, later.pools, strict=True))


@pytest.mark.parametrize("resource", ["nvidia.com/gpu.shared", "nvidia.com/gpu"])
def test_what_is_offered_tells_the_turns_where_labels_are_stale(resource: str):
    (node,) = fake.nodes({"h100-sxm": 1})
    labels = node["metadata"]["labels"]
    labels |= {"nvidia.com/gpu.count": "1", "nvidia.com/gpu.replicas": "1"}
    if resource == "nvidia.com/gpu":  # renamed resources come without the suffix
        labels["nvidia.com/gpu.product"] += "-SHARED"
    node["status"] |= {"capacity": {resource: "50"}, "allocatable": {resource: "50"}}
    (pool,) = read_inventory([node], [], CATALOG).pools
    assert pool.gpu is not None
    assert pool.gpu.hbm_bytes == pytest.approx(H100.hbm_bytes / 50, rel=0.01)
