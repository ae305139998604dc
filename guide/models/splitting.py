"""Whether tensor parallelism cuts a quantised weight through its groups or blocks.

A group that two GPUs share cannot be mended by padding: vLLM ends with "not divisible by weight
quantization block_k" (or block_n, or group_size). Tiles of kernels are padded and cut nothing.
"""

from __future__ import annotations

from functools import lru_cache

from guide.domain import ModelArch, Part, Weight
from guide.models.arch import weights_of

SUMMED = ("o_proj", "down_proj", "out_proj")  # TP splits their inputs, of all others the outputs
PADDED = ("mxfp4",)  # kernels pad the last group
FINE_EXPERTS_SINCE = (0, 33)  # blocks of experts are refined, fp8.py: 32 is the finest
FINEST = 32


def undivided(
    weight: Weight, ranks: int, version: tuple[int, ...] | None
) -> tuple[float, int] | None:
    """Channels of `weight` that one of `ranks` GPUs would hold, and the block that they are no
    multiple of; None where it divides. `version`: of vLLM, None for the newest."""
    form, summed = weight.format, weight.name.endswith(SUMMED)
    if ranks == 1 or form.bits >= 16 or form.name in PADDED:
        return None
    tile = form.group_inputs if summed else form.group_outputs
    if weight.part is Part.EXPERTS and form.name == "fp8" and tile and tile > FINEST:
        fine = version is None or version >= FINE_EXPERTS_SINCE
        tile = FINEST if fine else tile
    if not tile or tile == 1:
        return None
    held = (weight.inputs if summed else weight.outputs) / ranks
    return (held, tile) if held % tile else None


@lru_cache(maxsize=1024)  # the same on all GPUs
def torn(
    model: ModelArch, tp: int, version: tuple[int, ...], *, whole_experts: bool
) -> tuple[Weight, int, float, int] | None:
    """The first weight of `model` that TP cuts through its blocks, over how many ranks, what one of
    them holds, and the block."""
    for _, weight in weights_of(model.groups):
        if whole_experts and weight.part is Part.EXPERTS:
            continue
        ranks = tp if weight.shards is None else min(tp, weight.shards)
        found = undivided(weight, ranks, version)
        if found is not None:
            return weight, ranks, *found
    return None
