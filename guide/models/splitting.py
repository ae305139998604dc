"""Whether tensor parallelism cuts a quantised weight through its groups or blocks.

A group that two GPUs share cannot be mended by padding: vLLM ends with "not divisible by weight
quantization block_k" (or block_n, or group_size). Tiles of kernels are padded and cut nothing.
"""

from __future__ import annotations

from guide.domain import Part, Weight

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
