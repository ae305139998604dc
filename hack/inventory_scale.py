"""How long and how much memory an inventory takes; `python -m hack.inventory_scale`."""

from __future__ import annotations

import copy
import resource
import time
from typing import Annotated, Any

import typer

from guide.catalog import load
from guide_operator.cluster import ClusterState
from hack.nodes import mixed


def cluster_of(nodes: int, pods: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Nodes of several clouds as kwok fakes them, and pods spread over them, half with a GPU."""
    made = mixed(nodes)
    names = [node["metadata"]["name"] for node in made]
    gpu = {"resources": {"requests": {"nvidia.com/gpu": "1"}}}
    return made, [
        {
            "metadata": {"name": f"p{i}", "namespace": "n"},
            "spec": {"nodeName": names[i % nodes], "containers": [gpu if i % 2 else {}]},
            "status": {"phase": "Running"},
        }
        for i in range(pods)
    ]


def main(
    nodes: Annotated[int, typer.Option(help="Number of nodes.")] = 10_000,
    pods: Annotated[int, typer.Option(help="Number of pods.")] = 50_000,
) -> None:
    """Time a cold and a warm reading, and one after a single node was relabelled."""
    made, bound = cluster_of(nodes, pods)
    cluster = ClusterState(load())

    def timed(what: str) -> None:
        begin, begin_cpu = time.perf_counter(), time.process_time()
        found = cluster.whole_inventory()
        took_ms = 1000 * (time.perf_counter() - begin)
        cpu_ms = 1000 * (time.process_time() - begin_cpu)
        typer.echo(f"{what}: {took_ms:.0f} ms ({cpu_ms:.0f} ms CPU), {len(found.pools)} pools")

    for node in made:
        cluster.set_node(node["metadata"]["name"], node)
    for pod in bound:
        cluster.set_pod(("n", pod["metadata"]["name"]), pod)
    timed("first reading of warm objects")
    changed = copy.deepcopy(made[0])
    changed["metadata"]["labels"]["nvidia.com/gpu.product"] = "NVIDIA-H100-PCIe"
    cluster.set_node(changed["metadata"]["name"], changed)
    timed("after one node was relabelled")
    cluster.set_pod(("n", "p1"), None)
    timed("after one pod was deleted")
    timed("unchanged")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    typer.echo(f"peak memory of the process, the objects included: {peak_mib:.0f} MiB")


if __name__ == "__main__":
    typer.run(main)
