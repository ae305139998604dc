"""Experts dealt out whole: how far the slowest rank is above the mean, against drawn routes."""

from __future__ import annotations

import math
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guide.catalog import load
from guide.domain import ModelArch, StepShape
from guide.models.precision import PRECISIONS
from guide.perf.fits import PARAMETERS, constants, latent_centre
from guide.perf.formula import step_seconds
from guide.perf.ops import Layout
from guide.perf.routing import unevenness
from guide.perf.step import fold

CATALOG = load()
MIXTURES = ("Qwen/Qwen3-30B-A3B", "deepseek-ai/DeepSeek-V3", "mistralai/Mixtral-8x7B-v0.1")
PRIOR, _ = constants({q.name: latent_centre(q) for q in PARAMETERS})


def drawn(ranks: int, experts: int, active: int, tokens: int) -> tuple[float, float]:
    """Of 300 steps with even routes: the largest share of its experts that a rank reads, and the
    most pairs of a token and an expert on a rank, over the mean."""
    dice = np.random.default_rng(1)
    shares: list[float] = []
    loads: list[float] = []
    for _ in range(300):
        keys = dice.random((tokens, experts))
        routes = np.argpartition(keys, active - 1, axis=1)[:, :active]
        counts = np.bincount(routes.ravel(), minlength=experts).reshape(ranks, -1)
        shares.append(float((counts > 0).mean(axis=1).max()))
        loads.append(float(counts.sum(axis=1).max() / counts.sum(axis=1).mean()))
    return fmean(shares), fmean(loads)


@pytest.mark.parametrize(
    ("ranks", "experts", "active", "tokens"),
    [(2, 128, 8, 4), (4, 128, 8, 16), (8, 256, 8, 8), (8, 256, 8, 64), (16, 256, 8, 128)],
)
def test_the_slowest_rank_is_where_drawn_routes_put_it(
    ranks: int, experts: int, active: int, tokens: int
):
    uneven = unevenness(ranks, experts, active)
    reached = 1 - (1 - active / experts) ** tokens
    share = reached + uneven.reach * math.sqrt(reached * (1 - reached))
    load = 1 + uneven.load / math.sqrt(tokens)
    drawn_share, drawn_load = drawn(ranks, experts, active, tokens)
    assert min(1.0, share) == pytest.approx(drawn_share, rel=0.05)
    assert load == pytest.approx(drawn_load, rel=0.05)


def test_a_gpu_with_a_slice_of_every_expert_is_like_all_others():
    assert unevenness(1, 128, 8) == (0.0, 0.0)
    assert unevenness(8, 0, 0) == (0.0, 0.0)


def expert_seconds(arch: ModelArch, layout: Layout, tokens: int) -> float:
    """Of a decode step, beside all that does not depend on who holds the experts."""
    facts = fold(arch, CATALOG.gpus["H200"], PRECISIONS[arch.precision], layout)
    shape = StepShape(decode_sequences=tokens, sampled_sequences=tokens)
    return float(step_seconds(facts, PRIOR, shape))


@given(
    name=st.sampled_from(MIXTURES), tokens=st.integers(1, 2048), ranks=st.sampled_from([2, 4, 8])
)
def test_whole_experts_are_never_faster_than_slices_and_lose_less_the_more_tokens_there_are(
    name: str, tokens: int, ranks: int
):
    arch = CATALOG.models[name]
    slices = expert_seconds(arch, Layout(tp=ranks), tokens)
    whole = expert_seconds(arch, Layout(tp=ranks, expert_parallel=ranks), tokens)
    assert slices <= whole
    # no rank has more to do than all of them together
    assert whole <= expert_seconds(arch, Layout(tp=1), tokens) + slices
    if tokens >= 512:
        assert whole <= 1.1 * slices


@pytest.mark.parametrize("name", MIXTURES)
def test_attention_ranks_pay_for_the_tokens_that_they_exchange(name: str):
    arch = CATALOG.models[name]
    gpu, precision = CATALOG.gpus["H200"], PRECISIONS[arch.precision]
    alone = fold(arch, gpu, precision, Layout())
    joined = fold(arch, gpu, precision, Layout(attention_ranks=8, expert_parallel=8))
    assert alone.all_reduce_token_s == 0.0
    sent = 2 * arch.expert_layers * arch.hidden * 2 * 7  # to and from seven others, 16 bit
    assert joined.all_reduce_token_s == pytest.approx(sent / gpu.link.bytes_per_s)
    assert joined.all_reduces == pytest.approx(2 * arch.expert_layers * 3)
