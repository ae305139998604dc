"""How each family's rows are put into its form: columns, first guesses, bounds, residual places."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from guide.domain import Gpu
from guide.models.precision import peak_flop_per_s
from guide.perf.kernels.forms import (
    Chip,
    decode_attention,
    gemm,
    latent_pair,
    latent_projections,
    latent_token,
    moe,
    prefill_attention,
)
from guide.perf.kernels.levels import COMPUTE, WIDTHS, latent_size
from guide.perf.kernels.residual import moe_place

Floats = npt.NDArray[np.float64]
Bounds = dict[str, tuple[float, float, float]]
SHARE = (0.7, 0.02, 1.0)  # of a datasheet's roof, which nothing exceeds
STARTS: dict[str, Bounds] = {
    "gemm": {
        "t0": (4.0, 0.1, 400.0),
        "sw": SHARE,
        "sc": SHARE,
        "p": (1.5, 0.9, 8.0),
        "ck": (0.3, 1e-4, 10.0),
        "w": (0.1, 1e-3, 20.0),
    },
    "moe": {
        "o": (25.0, 1.0, 400.0),
        "a": SHARE,
        "b": SHARE,
        "c": (0.2, 0.01, 2.0),
        "p": (1.5, 0.9, 8.0),
        "ck": (1.0, 1e-4, 15.0),
    },
    "decode": {
        "t0": (8.0, 0.5, 100.0),
        "s": SHARE,
        "sc": SHARE,
        "p": (3.0, 0.5, 8.0),
        "cs": (0.3, 1e-3, 50.0),
    },
    "prefill": {
        "t0": (10.0, 0.5, 200.0),
        "sc": SHARE,
        "st": (0.6, 0.02, 3.0),
        "p": (1.5, 0.9, 8.0),
        "sx": (0.3, 0.01, 3.0),
    },
    "latent": {
        "t0": (40.0, 1.0, 300.0),
        "sw": SHARE,
        "sc": SHARE,
        "p": (2.0, 0.5, 10.0),
        "skv": SHARE,
        "sa": (0.6, 0.02, 3.0),
        "sx": (0.2, 0.01, 5.0),
    },
}


def chip_of(gpu: Gpu, dtype: str) -> Chip:
    """The roofs of a GPU for a data type of the tables."""
    return Chip(
        bytes_per_s=gpu.hbm_bytes_per_s,
        flop_per_s=peak_flop_per_s(gpu, COMPUTE[dtype]),
        multiprocessors=gpu.multiprocessors or 100,
    )


def predicted(
    family: str, gpu: Gpu, dtype: str, constants: Mapping[str, float], c: Mapping[str, Floats]
) -> Floats:
    """The form of a family over the rows of a level."""
    first = dtype.split("/")[0]
    if family == "gemm":
        return gemm(constants, chip_of(gpu, first), c["m"], c["n"], c["k"], WIDTHS[first])
    if family == "moe":
        return moe(
            constants,
            chip_of(gpu, first),
            n=c["num_tokens"],
            h=c["hidden_size"],
            i=c["inter_size"] / c["moe_tp_size"],
            k=c["topk"],
            experts=c["num_experts"],
            ranks=c["moe_ep_size"],
            weight_bytes=WIDTHS[first].weight,
        )
    chip = chip_of(gpu, "bfloat16")
    kv_bytes = 1.0 if dtype.split("/")[-1] == "fp8" or first == "fp8" else 2.0
    window = c.get("window_size", np.zeros(len(c["batch_size"])))
    if family == "decode":
        length = c["isl"] + c["step"]
        seen = np.where(window > 0, np.minimum(length, window), length)
        return decode_attention(
            constants,
            chip,
            batch=c["batch_size"],
            context=c["batch_size"] * seen,
            heads=c["num_heads"],
            kv_heads=c["num_key_value_heads"],
            head_dim=c["head_dim"],
            kv_bytes=kv_bytes,
        )
    if family == "prefill":
        return prefill_attention(
            constants,
            chip,
            batch=c["batch_size"],
            length=c["isl"],
            heads=c["num_heads"],
            kv_heads=c["num_key_value_heads"],
            head_dim=c["head_dim"],
            window=window,
        )
    size = latent_size(c["num_heads"])
    projected = chip_of(gpu, first)
    if family == "latent decode":
        context = c["batch_size"] * (c["isl"] + c["step"])
        return (
            latent_projections(constants, projected, size, c["batch_size"], WIDTHS[first].weight)
            + latent_token(constants, chip, size, kv_bytes) * context
        )
    pairs = c["batch_size"] * c["isl"] * (c["isl"] + 1) / 2
    tokens = c["batch_size"] * c["isl"]
    return (
        latent_projections(constants, projected, size, tokens, WIDTHS[first].weight)
        + latent_pair(constants, chip, size) * pairs
    )


def places(family: str, c: Mapping[str, Floats]) -> Floats:
    """Where the rows of a level lie in its residual table: (rows, axes), in log2."""
    if family == "gemm":
        return np.log2(np.stack([c["m"], c["n"], c["k"]], axis=1))
    inner = c["inter_size"] / c["moe_tp_size"]
    return np.stack(
        moe_place(
            n=c["num_tokens"],
            h=c["hidden_size"],
            i=inner,
            k=c["topk"],
            experts=c["num_experts"],
            ranks=c["moe_ep_size"],
        ),
        axis=1,
    )
