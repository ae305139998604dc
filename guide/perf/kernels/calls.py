"""Seconds of one call of an operator on a GPU, over `TOKENS` or by the size of a message."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from guide.domain import Gpu
from guide.models.precision import peak_flop_per_s
from guide.perf.kernels import forms
from guide.perf.kernels.choice import choose, nvlink_bytes_per_s, table_gpu
from guide.perf.kernels.curves import LOG_TOKENS, TOKENS, Floats
from guide.perf.kernels.levels import COMPUTE, AllReduce, all_reduces
from guide.perf.kernels.residual import AXES, factor_along

PCIE_HOP_S = 12e-6  # a guess: measured only for tables over PCIe
PCIE_SHARE = 0.6  # of two L40S and of two RTX PRO 6000 (0.58 and 0.57 measured), rounded up


def chip_of(gpu: Gpu, dtype: str) -> forms.Chip:
    """The roofs of a GPU for the kernels of a data type."""
    return forms.Chip(
        gpu.hbm_bytes_per_s, peak_flop_per_s(gpu, COMPUTE[dtype]), gpu.multiprocessors or 100
    )


@lru_cache(maxsize=4096)  # layouts share their matrices: other KV types, stages, frameworks
def gemm_seconds(gpu: Gpu, weights: str, n: float, k: float) -> Floats:
    """One GEMM over `TOKENS`, its weights in a format that `choose` knows a kernel for."""
    chosen = choose(gpu, "gemm", weights)
    assert chosen is not None
    level = chosen.level
    chip = chip_of(gpu, level.dtype)
    seconds = forms.gemm(level.constants, chip, TOKENS, n, k, chosen.width)
    if level.residual is not None:
        places = (LOG_TOKENS, math.log2(n), math.log2(k))
        seconds = seconds * factor_along(level.residual, AXES["gemm"], *places)
    # a benchmark repeats one matrix, which small enough stays in the cache; a model's does not
    return _shared(np.maximum(seconds, n * k * chosen.width.weight / chip.bytes_per_s))


@lru_cache(maxsize=1024)
def token_all_reduces(gpu: Gpu, mode: str, gpus: int, token_bytes: int) -> Floats:
    """One all-reduce of so much a token, over `TOKENS`."""
    return _shared(all_reduce_seconds(gpu, mode, gpus, TOKENS * token_bytes))


def _shared(seconds: Floats) -> Floats:
    """Kept for whoever asks the same: nobody may write to it."""
    seconds.setflags(write=False)
    return seconds


def all_reduce_seconds(gpu: Gpu, mode: str, gpus: int, message_bytes: Floats) -> Floats:
    """One all-reduce over `gpus` GPUs: the table's measured points, slower beyond their launch as
    the GPU's own NVLink is; over PCIe no faster than the ring's share of the GPU's own link, after
    a launch a hop where the table's GPUs had NVLink."""
    table = table_gpu(gpu)
    found = all_reduces(table) if table else {}
    widest = max((n for m, n in found if m == mode), default=0)
    seconds = np.zeros(len(message_bytes))
    nvlink = nvlink_bytes_per_s(table) if table else None
    if widest:
        points = found[mode, min(gpus, widest)]
        seconds = _interpolated(points, message_bytes)
        if nvlink and gpu.link.kind != "pcie":
            slower = max(nvlink / gpu.link.bytes_per_s, 1.0)
            seconds += (slower - 1) * np.maximum(seconds - points.seconds[0], 0.0)
    if gpus > widest > 1:  # over nodes: the widest measured and the way between nodes
        seconds = seconds * np.log2(gpus) / np.log2(widest)
    if widest and gpu.link.kind != "pcie":
        return seconds
    ring = 2 * (gpus - 1) / gpus * message_bytes / gpu.link.bytes_per_s
    hops = 0.0 if table and nvlink is None else PCIE_HOP_S * np.log2(gpus)
    return np.maximum(seconds, hops + ring / PCIE_SHARE)


def _interpolated(points: AllReduce, message_bytes: Floats) -> Floats:
    """Linear between measured sizes, beyond the last at its bandwidth."""
    last = message_bytes / points.message_bytes[-1] * points.seconds[-1]
    inside = np.interp(message_bytes, points.message_bytes, points.seconds)
    return np.where(message_bytes > points.message_bytes[-1], last, inside)
