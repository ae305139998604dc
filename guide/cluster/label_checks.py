"""Do the labels of a node agree with each other, with its resources and with the datasheet? (pure)

A node whose labels contradict each other is left out with one sentence: guessing which of them is
right would predict for a GPU that may not be there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from guide.cluster.json_values import count
from guide.cluster.labels import Match
from guide.cluster.nodes import GpuNode
from guide.domain import Gpu
from guide.units import GIB, MIB

_MEMORY_TOLERANCE_SHARE = 0.15
_SHOWN = 40  # characters of a label's value

Lookup = Callable[[str], Gpu | None]  # product -> GPU of the catalogue


def checked(node: GpuNode, lookup: Lookup) -> GpuNode:
    """`node`, refused with the first thing that is wrong with it, if any."""
    if node.refusal:
        return node
    problem = next(_problems(node, lookup), None)
    return node if problem is None else replace(node, refusal=problem)


def _problems(node: GpuNode, lookup: Lookup) -> Iterator[str]:
    yield from _two_models(node)
    seen: dict[str, tuple[Match, Gpu]] = {}
    for found in node.matches:
        yield from _no_numbers(node, found)
        gpu = lookup(found.gpu_name)
        if gpu is None:
            continue
        before = seen.setdefault(found.row.resource, (found, gpu))
        if before[1].name != gpu.name:
            first, second = (f"{m.row.product}={m.product}" for m in (before[0], found))
            yield (
                f"has labels that contradict each other: {first} is {before[1].name}, "
                f"yet {second} is {gpu.name}"
            )
        if found.partition is None:
            known = gpu.with_memory(node.gpu_bytes) if node.gpu_bytes else gpu
            yield from _memory(node, found, known)


def _two_models(node: GpuNode) -> Iterator[str]:
    """AMD's older labels count the GPUs of each product; a label scheme names only one."""
    prefix = "beta.amd.com/gpu.product-name."
    products = sorted(key.removeprefix(prefix) for key in node.labels if key.startswith(prefix))
    if len(products) > 1:
        yield (
            f"carries {len(products)} GPU models ({', '.join(products)}), which pods cannot choose "
            "between by resource"
        )


def _no_numbers(node: GpuNode, found: Match) -> Iterator[str]:
    row = found.row
    for label in (row.count, row.memory_mib, row.replicas if found.shared else None):
        text = node.labels.get(label) if label else None
        if text is not None and count(text) is None:
            yield f"has label {label}={text[:_SHOWN]}, which is no number"
    if row.count and node.labels.get(row.count) == "0":
        yield f"has label {row.count}=0: it says itself that it has no GPU"


def _memory(node: GpuNode, found: Match, gpu: Gpu) -> Iterator[str]:
    """Stated memory and the datasheet of the product may differ by 15 %."""
    for label, unit in ((found.row.memory_mib, MIB), (found.row.memory_gib, GIB)):
        text = node.labels.get(label or "", "")
        stated = count(re.sub("G$", "", text))
        if stated is None:
            continue
        if abs(stated * unit - gpu.hbm_bytes) > _MEMORY_TOLERANCE_SHARE * gpu.hbm_bytes:
            yield (
                f"has label {label}={text}, yet {gpu.name} has {gpu.hbm_bytes / MIB:.0f} MiB: "
                "one of its labels is wrong"
            )
