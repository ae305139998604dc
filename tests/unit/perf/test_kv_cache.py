"""How vLLM cuts the KV cache into blocks, by what its formulas give (facts of 0.11.0 to 0.33.0)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guide.catalog import load, release
from guide.domain import CacheGroup, CachePool, Limits, MemoryFit, MemoryRules
from guide.models.precision import PRECISIONS
from guide.perf.kv_cache import LayerCache, block_plan
from guide.perf.memory import fit_memory
from guide.perf.ops import Layout
from guide.units import GIB

CATALOG = load()


def rules(version: str = "0.33.0") -> MemoryRules:
    return release(CATALOG, "vLLM", version).memory


def fit(model: str, tokens: int, batched: int, version: str) -> MemoryFit:
    arch = CATALOG.models[model]
    limits = Limits(
        max_num_seqs=64,
        max_num_batched_tokens=batched,
        gpu_memory_utilization=0.9,
        max_model_len=tokens,
    )
    return fit_memory(
        arch,
        CATALOG.gpus["H200"],
        PRECISIONS[arch.precision],
        Layout(),
        limits,
        release(CATALOG, "vLLM", version),
    )


@pytest.mark.parametrize(
    ("model", "tokens", "gib"),
    [("google/gemma-3-27b-it", 65_536, 13.0), ("openai/gpt-oss-120b", 131_072, 5.1)],
)
def test_a_request_of_layers_that_forget(model: str, tokens: int, gib: float):
    """By vLLM's formula with 16,384 tokens under way; all tokens of all layers are 31.0 and 9.0."""
    memory = fit(model, tokens, 16_384, "0.13.0")
    assert memory.kv_bytes / memory.concurrency(tokens) / GIB == pytest.approx(gib, rel=0.01)


def test_two_batches_are_under_way_since_0_26():
    one, two = (
        fit("openai/gpt-oss-120b", 131_072, 8192, version) for version in ("0.25.1", "0.26.0")
    )
    assert one.pool is not None
    assert two.pool is not None
    assert (one.pool.in_flight_tokens, two.pool.in_flight_tokens) == (8192, 16_384)


def test_before_0_10_all_layers_keep_all():
    assert fit("google/gemma-3-27b-it", 8192, 8192, "0.9.2").pool is None


def layers(count: int, **keeps: float) -> LayerCache:
    return LayerCache(kind="any", layers=tuple(range(count)), **keeps)  # pyright: ignore[reportArgumentType]


def test_layers_go_into_groups_of_the_rarest_kind():
    """Gemma 3 27B: 10 full layers and 52 with a window are 1 + 6 groups of up to 10."""
    kinds = (layers(10, token_bytes=8192), layers(52, token_bytes=8192, window_tokens=1024))
    plan = block_plan(kinds, 16, rules())
    assert plan is not None
    assert [group.window_tokens for group in plan.groups] == [None] + [1024] * 6
    assert plan.block_bytes(range(62)) == 10 * 8192 * 16


def test_kinds_that_hardly_differ_are_padded():
    kinds = (layers(12, token_bytes=1024), layers(13, token_bytes=1024, window_tokens=128))
    counts = [
        len(plan.groups) if (plan := block_plan(kinds, 16, rules(v))) else 0
        for v in ("0.10.2", "0.11.0")
    ]
    assert counts == [1 + 2, 1 + 1]


@pytest.mark.parametrize(("tp", "block"), [(1, 544), (4, 272)])
def test_attention_blocks_cover_the_state(tp: int, block: int):
    """Qwen3-Next in bf16, whose log says 544 tokens at TP 1 and 272 at TP 4."""
    conv, recurrent = 3 * (2 * 2048 + 4096) * 2, 32 * 128 * 128 * 2
    kinds = (
        layers(12, token_bytes=2 * 2 * 256 * 2 / min(tp, 2)),
        layers(36, state_bytes=(conv + recurrent) / tp),
    )
    plan = block_plan(kinds, 16, rules())
    assert plan is not None
    assert plan.groups[0].block_tokens == block
    assert [group.state_blocks for group in plan.groups] == [0, 2, 2, 2]


def test_chunks_cost_full_attention():
    kinds = (
        layers(12, token_bytes=4096),
        layers(36, token_bytes=4096, window_tokens=8192, chunked=True),
    )
    plan = block_plan(kinds, 16, rules())
    assert plan is not None
    assert [group.window_tokens for group in plan.groups] == [None]


def test_latent_and_indexer_share_a_block():
    """DeepSeek-V3.2: 576 x 2 + 132 bytes a token and layer."""
    plan = block_plan((layers(61, token_bytes=1152), layers(61, token_bytes=132)), 16, rules())
    assert plan is not None
    assert plan.block_bytes(range(61)) == 61 * 16 * (1152 + 132)


@given(st.integers(1, 10**6), st.integers(1, 4096), st.integers(16, 10**5), st.booleans())
def test_a_longer_request_never_takes_less(tokens: int, window: int, blocks: int, chunked: bool):
    groups = (
        CacheGroup(block_tokens=16),
        CacheGroup(block_tokens=16, window_tokens=window, chunked=chunked),
    )
    pool = CachePool(blocks=blocks, groups=groups, in_flight_tokens=2048)
    assert pool.reserved_blocks(tokens) <= pool.reserved_blocks(tokens + 1)
    assert pool.held_blocks(tokens) <= pool.held_blocks(tokens + 1)
    assert pool.held_blocks(tokens) <= pool.reserved_blocks(tokens)
    more = replace(pool, blocks=blocks + 1)
    assert pool.longest_request(tokens) <= more.longest_request(tokens)
