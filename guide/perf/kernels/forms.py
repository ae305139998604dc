"""The smooth forms of measured kernels: seconds of one call by its shape, on arrays or floats.

Each form is a launch time, the soft maximum of the time at the memory and at the compute roof, and
a small term for what grows with a side of the matrix. `hack.kernels` fits the constants to public
measurements; shares are of the datasheet's bandwidth and peak. Times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np

Number = Any  # float or array of floats
Constants = Mapping[str, float]
TILE = 128  # rows and columns of a thread block of a GEMM
EXPERT_TILE = 64  # rows of an expert's GEMM
MOST_WAVES = 8.0  # of padding that a small GEMM can be charged with
MICRO, NANO = 1e-6, 1e-9


class Chip(NamedTuple):
    """The roofs that a form refers to: of the GPU, for one data type."""

    bytes_per_s: float
    flop_per_s: float
    multiprocessors: int


def pnorm(a: Number, b: Number, p: Number) -> Number:
    """Soft maximum of two overlapping times, scaled so that large ratios cannot overflow."""
    top = np.maximum(np.maximum(a, b), 1e-30)
    return top * ((a / top) ** p + (b / top) ** p) ** (1 / p)


class Width(NamedTuple):
    """Bytes of one element, scales included."""

    weight: float
    activation: float = 2.0


def gemm(c: Constants, chip: Chip, m: Number, n: Number, k: Number, width: Width) -> Number:
    """Y[m, n] = X[m, k] W[k, n].

    Above one tile the last wave of thread blocks is paid for in part (w), at most `MOST_WAVES`.
    """
    tiles = np.ceil(m / TILE) * np.ceil(n / TILE) / chip.multiprocessors
    share = c["w"] / (1 + c["w"])
    waves = np.minimum((tiles + share * (np.ceil(tiles) - tiles)) / tiles, MOST_WAVES)
    padded = np.where(m <= TILE, 1.0, waves)
    moved = n * k * width.weight + m * k * width.activation + 2 * m * n
    memory = moved / (chip.bytes_per_s * c["sw"])
    compute = 2 * m * n * k * padded / (chip.flop_per_s * c["sc"])
    return c["t0"] * MICRO + pnorm(memory, compute, c["p"]) + c["ck"] * NANO * k


def reached_experts(experts: Number, active: Number, tokens: Number, ranks: Number) -> Number:
    """Experts of one rank that `tokens` with uniform routing reach in the mean."""
    return experts / ranks * (1 - (1 - active / experts) ** tokens)


def moe(
    c: Constants,
    chip: Chip,
    *,
    n: Number,
    h: Number,
    i: Number,
    k: Number,
    experts: Number,
    ranks: Number,
    weight_bytes: float,
    matrices: Number = 3,
) -> Number:
    """Routed experts over n tokens of hidden size h: k of `experts` of inner size i (on this GPU),
    spread over `ranks` GPUs."""
    inner = np.ceil(i / EXPERT_TILE) * EXPERT_TILE
    reached = reached_experts(experts, k, n, ranks)
    rows = np.maximum(n * k / ranks, reached)
    tiles = reached * EXPERT_TILE * np.ceil(rows / (EXPERT_TILE * reached))
    weights = reached * matrices * h * inner * weight_bytes / (chip.bytes_per_s * c["a"])
    compute = 2 * matrices * h * inner * (rows + tiles) / 2 / (chip.flop_per_s * c["b"])
    activations = n * k / ranks * (2 * h + matrices * inner) * 2 + 4 * n * h
    return (
        c["o"] * MICRO
        + pnorm(weights, compute, c["p"])
        + activations / (chip.bytes_per_s * c["c"])
        + c["ck"] * NANO * (h + inner)
    )


def decode_attention(
    c: Constants,
    chip: Chip,
    *,
    batch: Number,
    context: Number,
    heads: Number,
    kv_heads: Number,
    head_dim: Number,
    kv_bytes: float,
) -> Number:
    """`batch` queries over `context` tokens together: linear in these, so runs of steps add up."""
    return (
        c["t0"] * MICRO
        + decode_token(
            c, chip, heads=heads, kv_heads=kv_heads, head_dim=head_dim, kv_bytes=kv_bytes
        )
        * context
        + decode_sequence(c, chip, heads, head_dim) * batch
    )


def decode_token(
    c: Constants, chip: Chip, *, heads: Number, kv_heads: Number, head_dim: Number, kv_bytes: float
) -> Number:
    """Seconds of one context token of one layer."""
    memory = 2 * kv_heads * head_dim * kv_bytes / (chip.bytes_per_s * c["s"])
    queries = kv_heads * np.maximum(heads / kv_heads, 16)
    compute = 4 * queries * head_dim / (chip.flop_per_s * c["sc"])
    return pnorm(memory, compute, c["p"])


def decode_sequence(c: Constants, chip: Chip, heads: Number, head_dim: Number) -> Number:
    """Seconds of one decoding sequence of one layer."""
    return c["cs"] * MICRO * heads * head_dim / (128 * chip.multiprocessors)


def prefill_attention(
    c: Constants,
    chip: Chip,
    *,
    batch: Number,
    length: Number,
    heads: Number,
    kv_heads: Number,
    head_dim: Number,
    window: Number = 0,
) -> Number:
    """`batch` whole prompts of `length` tokens, causal, each query seeing at most `window` tokens
    (0: all).

    The thread block of the last queries walks all keys alone (st): short batches wait for it.
    """
    rounded = np.ceil(length / TILE) * TILE
    beyond = np.where(window > 0, np.maximum(0, rounded - window - TILE / 2), 0)
    pairs = rounded * (rounded + TILE) / 2 - beyond**2 / 2
    seen = cast("Number", np.where(window > 0, np.minimum(window + TILE / 2, rounded), rounded))
    compute = 4 * batch * heads * head_dim * pairs / (chip.flop_per_s * c["sc"])
    tail: Number = 4 * TILE * seen * head_dim / (chip.flop_per_s / chip.multiprocessors * c["st"])
    moved = batch * length * (2 * heads + 2 * kv_heads) * head_dim * 2
    return c["t0"] * MICRO + pnorm(compute, tail, c["p"]) + moved / (chip.bytes_per_s * c["sx"])


class Latent(NamedTuple):
    """Sizes of multi-head latent attention, per GPU."""

    weights: Number  # of the projections, with the heads of this GPU
    heads: Number
    latent: float  # kv_lora + rope_dim: what the cache holds a token
    values: float  # kv_lora
    pair_flop: float  # a query-key pair and head of a prompt
    width: Number  # elements a token that the module reads and writes between its kernels


def latent_projections(
    c: Constants, chip: Chip, size: Latent, tokens: Number, weight_bytes: float
) -> Number:
    """The projections of one layer, norms and rotary embedding among them."""
    memory = size.weights * weight_bytes / (chip.bytes_per_s * c["sw"])
    compute = 2 * size.weights * tokens / (chip.flop_per_s * c["sc"])
    return (
        c["t0"] * MICRO
        + pnorm(memory, compute, c["p"])
        + tokens * size.width * 2 / (chip.bytes_per_s * c["sx"])
    )


def latent_token(c: Constants, chip: Chip, size: Latent, kv_bytes: float) -> Number:
    """Seconds of one context token of a decoding sequence; kernels compute at least 64 heads."""
    memory = size.latent * kv_bytes / (chip.bytes_per_s * c["skv"])
    flop = 2 * np.maximum(size.heads, 64) * (size.latent + size.values)
    return pnorm(memory, flop / (chip.flop_per_s * c["sa"]), c["p"])


def latent_pair(c: Constants, chip: Chip, size: Latent) -> Number:
    """Seconds of one query-key pair of a prompt."""
    return size.heads * size.pair_flop / (chip.flop_per_s * c["sa"])
