"""The precisions a checkpoint may be stored in: bytes per weight with scales, and the peak its
GEMMs use.

A weight-only format (AWQ, GPTQ, MXFP4 on GPUs without FP4) computes in 16 bit; `effective` says
what a GPU does with a format its tensor cores lack. Sources: OCP Microscaling specification 1.0
(one 8-bit scale per 32 weights), AWQ/GPTQ with groups of 128 (16-bit scale and 4-bit zero per
group), NVFP4 (8-bit scale per 16 weights).
"""

from __future__ import annotations

from guide.domain import Gpu, Precision

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
