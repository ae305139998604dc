"""Parts of a GPU as GPUs of their own: MIG instances, AMD partitions, time slices (pure).

A part has a share of the peaks, the bandwidth and the memory of its parent, and no link to other
parts that a replica could use. Nothing measured on the parent is carried over: the name is new, so
numbers fall back to the generation and are labelled extrapolated.
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from guide.domain import Gpu
from guide.units import GIB

# A compute instance inside a GPU instance (1c.3g.40gb) shares its memory with others: no match.
_MIG = re.compile(r"(?P<compute>\d)g\.(?P<gb>\d{1,3})gb(?:[.+](?:me|gfx)(?:\.all)?)*")
_AMD_PARTS = {"spx": 1, "dpx": 2, "qpx": 4, "cpx": 8}
# Of an even share of the parent's memory, what the driver hands out: 4,864 MiB of the 5,120 of
# 1g.5gb is the least seen in node dumps.
_USABLE_SHARE = 0.95


def mig_slice(
    gpu: Gpu,
    profile: str,
    memory_bytes: float | None = None,
    multiprocessors: int | None = None,
) -> Gpu | None:
    """The MIG instance `profile` (1g.10gb) of `gpu`; None where it cannot be cut so.

    `memory_bytes` and `multiprocessors` are what the node says of it; without them, memory is the
    profile's share, and each compute slice counts as one part in as many as there are memory
    slices (1g of an A100 has 14 of 108 multiprocessors, of an H100 16 of 132: both about 1/8).
    Profiles: https://docs.nvidia.com/datacenter/tesla/mig-user-guide/supported-mig-profiles.html
    """
    match, cut = _MIG.fullmatch(profile), gpu.slicing
    if match is None or cut is None or gpu.vendor != "nvidia":
        return None
    compute, stated_bytes = int(match["compute"]), float(match["gb"]) * GIB
    parts = round(stated_bytes / gpu.hbm_bytes * cut.memory)
    if not (1 <= compute <= cut.compute and 1 <= parts <= cut.memory):
        return None
    compute_share = compute / cut.memory
    if multiprocessors and gpu.multiprocessors:
        compute_share = min(1.0, multiprocessors / gpu.multiprocessors)
    share = parts / cut.memory
    most_bytes = share * gpu.hbm_bytes
    usable_bytes = most_bytes * (_USABLE_SHARE if parts < cut.memory else 1.0)
    hbm_bytes = min(memory_bytes or usable_bytes, most_bytes)
    return gpu.part(f"{gpu.name}-MIG-{profile}", compute_share, share, hbm_bytes)


def amd_parts(mode: str) -> int | None:
    """Into how many parts a mode such as cpx_nps4 cuts a GPU of eight dies."""
    return _AMD_PARTS.get(mode.lower().split("_")[0])


def amd_partition(gpu: Gpu, mode: str) -> Gpu | None:
    """One compute partition of `gpu` in a mode such as cpx_nps4; None where there is no such mode.

    Partitions count as having an even share of the memory, also in NPS1, where any of them could
    take more from the others.
    """
    parts = amd_parts(mode)
    if gpu.slicing is None or gpu.vendor != "amd" or parts is None or parts > gpu.slicing.compute:
        return None
    if parts == 1:
        return gpu
    share = 1 / parts
    return gpu.part(f"{gpu.name}-{mode.upper()}", share, share, share * gpu.hbm_bytes)


def time_share(gpu: Gpu, clients: int) -> Gpu:
    """What one of `clients` pods may count on of a GPU that all of them use at once."""
    share = 1 / clients
    part = gpu.part(f"{gpu.name}-SHARED-{clients}", share, share, share * gpu.hbm_bytes)
    return replace(part, seen_bytes=gpu.hbm_bytes)
