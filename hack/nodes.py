"""Fake GPU nodes for kwok, labelled as real ones are; `python -m hack.nodes h100-sxm=2 gke-l4=1`.

Each row of SHAPES is one kind of node of one cloud: the labels that its discovery really writes,
and what its kubelet offers. They carry a taint of GPU nodes: only pods that tolerate it land there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

if TYPE_CHECKING:
    from hack.controlplane.kubectl import Kubectl

TAINT = {"key": "nvidia.com/gpu", "value": "fake", "effect": "NoSchedule"}
TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists"}
SELECTOR = "type=kwok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One kind of fake node."""

    gpus: int
    resource: str = "nvidia.com/gpu"
    cpu: int
    memory: str
    labels: dict[str, str] = field(default_factory=dict)


def _gfd(
    product: str, memory_mib: int, family: str, compute: str, gpus: int, **more: str
) -> dict[str, str]:
    """What NVIDIA GPU Feature Discovery writes for unshared GPUs without MIG."""
    major, minor = compute.split(".")
    facts = {
        "present": "true",
        "product": product,
        "memory": str(memory_mib),
        "family": family,
        "compute.major": major,
        "compute.minor": minor,
        "count": str(gpus),
        "replicas": "1",
        "sharing-strategy": "none",
        "mode": "compute",
    }
    mig = "true" if family in ("ampere", "hopper") and "A10G" not in product else "false"
    return {
        **{f"nvidia.com/gpu.{key}": value for key, value in facts.items()},
        "nvidia.com/mig.capable": mig,
        "nvidia.com/mig.strategy": "single",
        "nvidia.com/cuda.driver-version.full": "570.86.15",
        **more,
    }


def _instance(name: str) -> dict[str, str]:
    return {"node.kubernetes.io/instance-type": name}


SHAPES: dict[str, Shape] = {
    # GPU operator with GPU Feature Discovery: own machines, and clouds where users install it
    "h100-sxm": Shape(
        gpus=8,
        cpu=192,
        memory="2Ti",
        labels=_gfd("NVIDIA-H100-80GB-HBM3", 81559, "hopper", "9.0", 8),
    ),
    "a100-80": Shape(
        gpus=8,
        cpu=128,
        memory="1Ti",
        labels=_gfd("NVIDIA-A100-SXM4-80GB", 81920, "ampere", "8.0", 8),
    ),
    "a100-80-pcie": Shape(
        gpus=4,
        cpu=96,
        memory="880Gi",
        labels=_gfd("NVIDIA-A100-80GB-PCIe", 81920, "ampere", "8.0", 4)
        | _instance("Standard_NC96ads_A100_v4"),
    ),
    "l40s": Shape(
        gpus=4, cpu=96, memory="768Gi", labels=_gfd("NVIDIA-L40S", 46068, "ada-lovelace", "8.9", 4)
    ),
    "l4": Shape(
        gpus=1, cpu=16, memory="64Gi", labels=_gfd("NVIDIA-L4", 23034, "ada-lovelace", "8.9", 1)
    ),
    "t4": Shape(gpus=4, cpu=48, memory="192Gi", labels=_gfd("Tesla-T4", 15360, "turing", "7.5", 4)),
    "l4-shared": Shape(
        gpus=4,  # one physical GPU in four time slices
        cpu=16,
        memory="64Gi",
        labels=_gfd("NVIDIA-L4-SHARED", 23034, "ada-lovelace", "8.9", 1)
        | {
            "nvidia.com/gpu.replicas": "4",
            "nvidia.com/gpu.sharing-strategy": "time-slicing",
        },
    ),
    # GKE: its own device plugin and no GPU Feature Discovery
    "gke-l4": Shape(
        gpus=2,
        cpu=24,
        memory="96Gi",
        labels={
            "cloud.google.com/gke-accelerator": "nvidia-l4",
            "cloud.google.com/gke-accelerator-count": "2",
            "cloud.google.com/gke-gpu-driver-version": "default",
        }
        | _instance("g2-standard-24"),
    ),
    "gke-h100": Shape(
        gpus=8,
        cpu=208,
        memory="1872Gi",
        labels={
            "cloud.google.com/gke-accelerator": "nvidia-h100-80gb",
            "cloud.google.com/gke-accelerator-count": "8",
            "cloud.google.com/gke-gpu-driver-version": "latest",
        }
        | _instance("a3-highgpu-8g"),
    ),
    # EKS with Karpenter: lower-case GPU names, memory in MiB a GPU
    "eks-karpenter-a10g": Shape(
        gpus=4,
        cpu=48,
        memory="192Gi",
        labels={
            "karpenter.k8s.aws/instance-gpu-name": "a10g",
            "karpenter.k8s.aws/instance-gpu-manufacturer": "nvidia",
            "karpenter.k8s.aws/instance-gpu-count": "4",
            "karpenter.k8s.aws/instance-gpu-memory": "24576",
            "karpenter.sh/capacity-type": "on-demand",
        }
        | _instance("g5.12xlarge"),
    ),
    # EKS managed node group and AKS: only the instance type tells
    "eks-p5": Shape(gpus=8, cpu=192, memory="2Ti", labels=_instance("p5.48xlarge")),
    "aks-h100-nvl": Shape(
        gpus=1,
        cpu=40,
        memory="320Gi",
        labels={"kubernetes.azure.com/accelerator": "nvidia"}
        | _instance("Standard_NC40ads_H100_v5"),
    ),
    # AMD's node labeller: no count label
    "amd-mi300x": Shape(
        gpus=8,
        resource="amd.com/gpu",
        cpu=192,
        memory="2Ti",
        labels={
            "amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM",
            "amd.com/gpu.vram": "192G",
            "amd.com/gpu.family": "AI",
            "amd.com/gpu.cu-count": "304",
        },
    ),
}
MIX = ("h100-sxm", "a100-80", "l40s", "gke-l4", "eks-karpenter-a10g")


def node(name: str, shape: Shape, zone: str = "zone-a") -> dict[str, Any]:
    """One Node object as kwok takes it over: annotated, tainted, with its resources in status."""
    resources = {
        "cpu": str(shape.cpu),
        "memory": shape.memory,
        "ephemeral-storage": "1Ti",
        "pods": "110",
        shape.resource: str(shape.gpus),
    }
    labels = {
        "type": "kwok",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": name,
        "topology.kubernetes.io/zone": zone,
        **shape.labels,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": labels,
        },
        "spec": {"taints": [TAINT]},
        "status": {"allocatable": resources, "capacity": resources},
    }


def nodes(counts: dict[str, int]) -> list[dict[str, Any]]:
    """Nodes named SHAPE-0000 on, count of each shape, spread over three zones."""
    return [
        node(f"{shape}-{index:04d}", SHAPES[shape], f"zone-{'abc'[index % 3]}")
        for shape, count in counts.items()
        for index in range(count)
    ]


def mixed(count: int) -> list[dict[str, Any]]:
    """Count nodes, dealt in turn over the shapes of MIX."""
    dealt = list(islice(cycle(MIX), count))
    return nodes({shape: dealt.count(shape) for shape in MIX})


def create(kubectl: Kubectl, items: Iterable[dict[str, Any]], limit_s: float = 120) -> None:
    """Create or update the nodes and return once every one of them is Ready."""
    wanted = {item["metadata"]["name"]: item for item in items}
    kubectl.apply(*wanted.values())

    # One list call a round: `kubectl wait` looks at the nodes one after the other.
    @retry(
        stop=stop_after_delay(limit_s),
        wait=wait_fixed(0.3),
        retry=retry_if_result(lambda missing: bool(missing)),
    )
    def missing() -> set[str]:
        return wanted.keys() - ready(kubectl)

    missing()


def ready(kubectl: Kubectl) -> set[str]:
    """Names of the fake nodes whose Ready condition is True."""
    return {
        item["metadata"]["name"]
        for item in kubectl.json("get", "nodes", "-l", SELECTOR)["items"]
        if any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in item["status"].get("conditions", [])
        )
    }


def main(
    counts: Annotated[list[str], typer.Argument(help="SHAPE=COUNT ...", metavar="SHAPE=COUNT")],
) -> None:
    """Print nodes as a YAML list for `kubectl apply -f -` or `guide plan --nodes`."""
    pairs = [text.partition("=") for text in counts]
    unknown = [shape for shape, _, count in pairs if shape not in SHAPES or not count.isdigit()]
    if unknown:
        raise typer.BadParameter(
            f"{unknown[0]}: want SHAPE=COUNT, SHAPE one of {', '.join(SHAPES)}"
        )
    items = nodes({shape: int(count) for shape, _, count in pairs})
    yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items}, sys.stdout)


if __name__ == "__main__":
    typer.run(main)
