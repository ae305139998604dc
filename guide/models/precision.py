"""The precisions a checkpoint may be stored in: bytes per weight with scales, and the peak its
GEMMs use.

A weight-only format (AWQ, GPTQ, MXFP4 on GPUs without FP4) computes in 16 bit; `effective` says
what a GPU does with a format its tensor cores lack. Sources: OCP Microscaling specification 1.0
(one 8-bit scale per 32 weights), AWQ/GPTQ with groups of 128 (16-bit scale and 4-bit zero per
group), NVFP4 (8-bit scale per 16 weights).
"""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from guide.domain import BF16, SIXTEEN_BIT, Format, Gpu, ModelArch, Part, Precision, Weight
from guide.models.arch import weights_of

_INT4 = 0.5 + (2 + 0.5) / 128
_MXFP4 = 0.5 + 1 / 32
_NVFP4 = 0.5 + 1 / 16


def _row(
    name: str,
    dense: float,
    expert: float,
    compute: str,
    expert_compute: str,
    group: int | None = None,
) -> Precision:
    return Precision(
        name=name,
        dense_bytes=dense,
        expert_bytes=expert,
        compute=compute,
        expert_compute=expert_compute,
        group_size=group,
    )


PRECISIONS: dict[str, Precision] = {
    p.name: p
    for p in (
        _row("fp16", 2, 2, "fp16", "fp16"),
        _row("bf16", 2, 2, "fp16", "fp16"),
        _row("fp8", 1, 1, "fp8", "fp8"),
        _row("int8", 1, 1, "int8", "int8"),
        _row("int4", _INT4, _INT4, "fp16", "fp16", 128),
        _row("mxfp4", 2, _MXFP4, "fp16", "fp4", 32),  # gpt-oss: MXFP4 experts, 16-bit attention
        _row("nvfp4", _NVFP4, _NVFP4, "fp4", "fp4", 16),
    )
}


def own_precision(arch: ModelArch) -> Precision:
    """How a checkpoint is served as it is: the bytes and the data types of its own weights."""
    row = PRECISIONS[arch.precision]
    if arch.precision in SIXTEEN_BIT:
        return row
    groups: dict[bool, list[tuple[int, Weight]]] = {True: [], False: []}
    for layers, weight in weights_of(arch.groups):
        if weight.part is not Part.ROUTER:
            groups[weight.part is Part.EXPERTS].append((layers, weight))
    dense, experts = (_average(groups[key]) for key in (False, True))
    dense, experts = dense or experts, experts or dense
    if dense is None or experts is None:
        return row
    quantised = experts if experts[1].name == arch.precision else dense
    return replace(
        row,
        dense_bytes=dense[0],
        compute=dense[1].compute,
        expert_bytes=experts[0],
        expert_compute=experts[1].compute,
        group_size=quantised[1].group_inputs if row.group_size else None,
    )


def _average(weights: list[tuple[int, Weight]]) -> tuple[float, Format] | None:
    """Bytes a weight, and the format of most of them."""
    total = sum(layers * weight.parameters for layers, weight in weights)
    if not total:
        return None
    counts: Counter[Format] = Counter()
    for layers, weight in weights:
        counts[weight.format] += layers * weight.parameters
    stored = sum(layers * weight.stored_bytes for layers, weight in weights)
    return stored / total, counts.most_common(1)[0][0]


def served_bytes(weight: Weight, arch: ModelArch, precision: Precision) -> float:
    """Bytes of a weight of `arch` over all GPUs when it is served in `precision`.

    The checkpoint's own precision is exact; another one is what quantising it would give.
    """
    if _as_stored(arch, precision):
        return weight.stored_bytes
    if weight.part is Part.ROUTER:
        return 2 * weight.parameters
    expert = weight.part in (Part.EXPERTS, Part.SHARED)
    return weight.parameters * (precision.expert_bytes if expert else precision.dense_bytes)


def served_format(weight: Weight, arch: ModelArch, precision: Precision) -> str:
    """The name of the format that `served_bytes` counts."""
    if _as_stored(arch, precision):
        return weight.format.name
    return BF16.name if weight.part is Part.ROUTER else precision.name


def _as_stored(arch: ModelArch, precision: Precision) -> bool:
    own = {arch.precision, precision.name}
    return len(own) == 1 or own <= SIXTEEN_BIT


def served_head_bytes(arch: ModelArch, precision: Precision) -> float:
    """Bytes of the output head; quantising a checkpoint while loading leaves it in 16 bit."""
    own = arch.precision == precision.name
    return (arch.head_format if own else BF16).stored_bytes(arch.vocab, arch.hidden)


def peak_flop_per_s(gpu: Gpu, compute: str) -> float:
    """Dense peak of a data type on a GPU, falling back to what its tensor cores have (weight-only
    kernels)."""
    peaks = {
        "fp4": gpu.fp4_flop_per_s,
        "fp8": gpu.fp8_flop_per_s,
        "int8": gpu.int8_flop_per_s,
        "fp16": gpu.fp16_flop_per_s,
    }
    return peaks[effective(gpu, compute)] or gpu.fp16_flop_per_s


def effective(gpu: Gpu, compute: str) -> str:
    """The data type that `gpu` really multiplies in for GEMMs stored for `compute`.

    Without FP4 tensor cores the kernels unpack to 16 bit (weight only), and so they do for FP8 and
    INT8.
    """
    available = {
        "fp4": gpu.fp4_flop_per_s,
        "fp8": gpu.fp8_flop_per_s,
        "int8": gpu.int8_flop_per_s,
        "fp16": gpu.fp16_flop_per_s,
    }
    return compute if available[compute] else "fp16"
