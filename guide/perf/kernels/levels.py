"""The levels of kernel fits: constants, errors and sources by GPU, family, data type and kernel."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from guide.perf.kernels.forms import Latent, Width
from guide.perf.kernels.residual import AXES, SCALE
from guide.record import Record
from guide.shipped import kernel_document

Floats = npt.NDArray[np.float64]
COMPUTE = {
    "bfloat16": "fp16", "fp8": "fp8", "fp8_block": "fp8", "nvfp4": "fp4", "int4_wo": "fp16",
    "w4a16_mxfp4": "fp16", "w4a8_mxfp4_mxfp8": "fp8",
}  # fmt: skip
WIDTHS = {
    "bfloat16": Width(2.0),
    "fp8": Width(1.0, 1.0),
    "fp8_block": Width(1.0, 1.0),
    "nvfp4": Width(0.5625, 0.5625),
    "int4_wo": Width(0.52),
    "w4a16_mxfp4": Width(0.53125),
    "w4a8_mxfp4_mxfp8": Width(0.53125, 1.0),
}


def head_size(head_dim: int) -> str:
    """The level of prompt attention: kernels differ by head size."""
    return "64" if head_dim <= 64 else "128" if head_dim <= 128 else "256"


def latent_size(
    heads: Any,
    *,
    hidden: int = 7168,
    q_lora: int | None = 1536,
    kv_lora: int = 512,
    rope: int = 64,
    nope: int = 128,
    v_dim: int = 128,
) -> Latent:
    """Latent attention of `heads` heads on one GPU; the defaults are DeepSeek-V3's."""
    q_width = heads * (nope + rope)
    query = hidden * q_width if q_lora is None else q_lora * (hidden + q_width)
    weights = (
        query
        + hidden * (kv_lora + rope)
        + kv_lora * heads * (nope + v_dim)
        + heads * v_dim * hidden
    )
    return Latent(
        weights=weights,
        heads=heads,
        latent=kv_lora + rope,
        values=kv_lora,
        pair_flop=2.0 * (nope + rope + v_dim),
        width=heads * (2 * (nope + rope) + 2 * v_dim + 2 * kv_lora),
    )


class KernelLevel(Record, frozen=True):
    """One fitted form: whose rows, how many, and how far off (median and p90, %)."""

    gpu: str
    family: str
    dtype: str
    kernel: str
    source: str
    rows: int
    median_error: float
    p90_error: float
    constants: dict[str, float]
    residual: Floats | None = None


class AllReduce(Record, frozen=True):
    """Measured seconds by bytes of a message, for one GPU count and mode (graph, eager)."""

    message_bytes: Floats
    seconds: Floats


@cache
def levels(gpu: str) -> tuple[KernelLevel, ...]:
    """The fitted levels of a GPU; none where no table of it exists."""
    document = cast("dict[str, Any]", kernel_document(gpu) or {"levels": []})
    return tuple(_level(gpu, row) for row in document["levels"])


def _level(gpu: str, row: dict[str, Any]) -> KernelLevel:
    text = row.get("residual")
    table = None
    if text:
        shape = tuple(len(axis) for axis in AXES[row["family"]])
        table = (np.array(text.split(), dtype=float) / SCALE).reshape(shape)
    return KernelLevel(
        gpu=gpu,
        family=row["family"],
        dtype=row["dtype"],
        kernel=row["kernel"],
        source=row["source"],
        rows=row["rows"],
        median_error=row["error"][0],
        p90_error=row["error"][1],
        constants=row["constants"],
        residual=table,
    )


@cache
def all_reduces(gpu: str) -> dict[tuple[str, int], AllReduce]:
    """Measured all-reduces of a GPU by mode and GPU count."""
    document = cast("dict[str, Any]", kernel_document(gpu) or {})
    return {
        (row["mode"], row["gpus"]): AllReduce(
            np.array(row["bytes"], dtype=float), np.array(row["us"], dtype=float) * 1e-6
        )
        for row in document.get("all_reduce", ())
    }
