"""Ten thousand nodes and fifty thousand pods: what grows, and what does not (no absolute times)."""

from __future__ import annotations

import copy
import gc
import time
import tracemalloc
from collections.abc import Callable

from guide.catalog import load
from guide_operator.cluster import ClusterState
from hack.inventory_scale import cluster_of

CATALOG = load()
NODES, PODS = 10_000, 50_000


def filled(nodes: int, pods: int) -> ClusterState:
    made, bound = cluster_of(nodes, pods)
    cluster = ClusterState(CATALOG)
    for node in made:
        cluster.set_node(node["metadata"]["name"], node)
    for pod in bound:
        cluster.set_pod(("n", pod["metadata"]["name"]), pod)
    return cluster


def cpu_s(work: Callable[[], object]) -> float:
    gc.collect()
    gc.disable()  # what else the tests hold is no cost of the work
    try:
        begin = time.process_time()
        work()
        return time.process_time() - begin
    finally:
        gc.enable()


def test_the_time_grows_with_the_cluster_and_not_faster():
    small = min(cpu_s(filled(NODES // 10, PODS // 10).whole_inventory) for _ in range(3))
    large = cpu_s(filled(NODES, PODS).whole_inventory)
    assert large < 40 * small  # ten times as much; quadratic would be a hundred


def test_one_changed_node_costs_a_fraction_and_a_heartbeat_nothing():
    cluster = filled(NODES // 2, PODS // 2)
    first = min(cpu_s(filled(NODES // 2, PODS // 2).whole_inventory) for _ in range(2))
    before = cluster.whole_inventory()
    node = copy.deepcopy(cluster_of(1, 0)[0][0])
    heartbeat = copy.deepcopy(node)
    heartbeat["metadata"]["labels"]["nvidia.com/gfd.timestamp"] = "1900000000"
    heartbeat["status"]["conditions"] = []
    assert not cluster.set_node(node["metadata"]["name"], heartbeat)
    assert cluster.whole_inventory() is before
    took: list[float] = []
    for product in ("NVIDIA-A100-PCIE-40GB", "NVIDIA-L4", "NVIDIA-H100-PCIe"):
        node["metadata"]["labels"]["nvidia.com/gpu.product"] = product
        node = copy.deepcopy(node)
        assert cluster.set_node(node["metadata"]["name"], node)
        took.append(cpu_s(cluster.whole_inventory))
    assert min(took) < 0.6 * first  # the least of several: caches of a busy machine are cold
    after = {pool.name: pool for pool in cluster.whole_inventory().pools}
    kept = [pool for pool in before.pools if after.get(pool.name) is pool]
    assert len(kept) == len(before.pools) - 1


def test_the_objects_and_the_reading_stay_small():
    part = 20
    made, bound = cluster_of(NODES // part, PODS // part)
    tracemalloc.start()
    cluster = ClusterState(CATALOG)
    for node in made:
        cluster.set_node(node["metadata"]["name"], node)
    for pod in bound:
        cluster.set_pod(("n", pod["metadata"]["name"]), pod)
    cluster.whole_inventory()
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes * part < 300e6  # of the 500 MB, what is left for the rest of the process
