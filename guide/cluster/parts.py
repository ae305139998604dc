"""Which GPU one unit of a resource is: a whole one, a slice of one, or a turn on one (pure)."""

from __future__ import annotations

from guide.catalog.slicing import amd_partition, mig_slice, time_share
from guide.cluster.label_checks import Lookup
from guide.cluster.nodes import MEMORY_ANNOTATION, GpuNode, Offer
from guide.domain import Gpu


def offered_gpu(node: GpuNode, offer: Offer, lookup: Lookup) -> Gpu | None:
    """The GPU of the catalogue, or the part of one that a pod gets; None for what is unknown."""
    name = offer.product or (offer.match.gpu_name if offer.match else None)
    gpu = lookup(name) if name else None
    if gpu is not None and node.gpu_bytes:
        gpu = gpu.with_memory(node.gpu_bytes)
    if gpu is not None and offer.partition:
        gpu = (
            amd_partition(gpu, offer.partition)
            if gpu.vendor == "amd"
            else mig_slice(gpu, offer.partition, offer.memory_bytes, offer.multiprocessors)
        )
    clients = offer.clients or 1
    return time_share(gpu, clients) if gpu is not None and offer.shared and clients > 1 else gpu


def part_notes(offer: Offer, gpu: Gpu | None) -> list[str]:
    """What a reader must know about a unit that is not a whole GPU."""
    notes: list[str] = []
    if offer.partition and gpu is None:
        notes.append(f"GPUs are cut into slices ({offer.partition}), which are not modelled")
    elif offer.partition and gpu is not None and gpu.parent:
        notes.append(
            f"one GPU here is a slice ({offer.partition}) of {gpu.parent}: its speed is its share "
            "of the datasheet, since nothing was measured on slices"
        )
    elif gpu is not None and gpu.parent and gpu.linked:
        notes.append(
            f"memory by annotation {MEMORY_ANNOTATION}, speed and reference price of {gpu.parent}"
        )
    if offer.shared and offer.clients:
        notes.append(
            f"one GPU here is one of {offer.clients} turns on a GPU: a replica counts on "
            f"1/{offer.clients} of its memory and speed, as when all turns are taken"
        )
    elif offer.shared:
        notes.append(
            "how many pods share one of these GPUs is not stated: numbers hold while nobody else "
            "uses it"
        )
    return notes
