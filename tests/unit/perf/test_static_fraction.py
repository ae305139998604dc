"""The KV pool of SGLang against what public start-up logs state.

Rows: documentation and issues of projects under Apache-2.0, each with its address. Where a log says
what was free before loading, the rule alone is tested; else the memory of the GPU as well.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from guide.catalog import load, release
from guide.domain import Limits, MemoryFit
from guide.models.precision import PRECISIONS
from guide.perf.memory import fit_memory
from guide.perf.ops import Layout
from guide.units import GIB

CATALOG = load()


def fit(
    model: str,
    card: str,
    tp: int,
    fraction: float,
    *,
    version: str = "0.5.23",
    precision: str = "bf16",
    pp: int = 1,
    free_gib: float | None = None,
    seqs: int = 256,
    context: int = 8192,
) -> MemoryFit:
    known, gpu = release(CATALOG, "SGLang", version), CATALOG.gpus[card]
    static = known.memory.static
    assert static is not None
    if free_gib is not None:  # as the log says
        gpu = replace(gpu, visible_bytes=free_gib * GIB)
        static = replace(static, before_bytes=0.0, before_link_bytes=0.0)
        known = replace(known, memory=replace(known.memory, static=static))
    limits = Limits(
        max_num_seqs=seqs,
        max_num_batched_tokens=8192,
        gpu_memory_utilization=fraction,
        max_model_len=context,
    )
    arch = CATALOG.models[model]
    return fit_memory(arch, gpu, PRECISIONS[precision], Layout(tp=tp, pp=pp), limits, known)


@pytest.mark.parametrize(
    ("model", "card", "tp", "fraction", "version", "free_gib", "tokens"),
    [
        # https://docs.sglang.ai/start/send_request.html, 2025-01
        ("meta-llama/Llama-3.1-8B-Instruct", "H100-SXM", 1, 0.88, "0.4.1", 78.81, 444_500),
        # https://github.com/xorbitsai/inference/issues/3481
        ("Qwen/Qwen3-14B", "A6000", 1, 0.88, "0.4.6", 47.24, 91_749),
        # https://github.com/sgl-project/sglang/pull/18263: bytes of the pool
        ("Qwen/Qwen3-30B-A3B", "MI355X", 1, 0.911, "0.5.15", 287.18, 219_721_119_039 // 98_304),
    ],
)
def test_the_rule_gives_the_pool_of_the_log(
    model: str, card: str, tp: int, fraction: float, version: str, free_gib: float, tokens: int
):
    found = fit(model, card, tp, fraction, version=version, free_gib=free_gib)
    assert found.kv_capacity_tokens == pytest.approx(tokens, rel=0.005)


@pytest.mark.parametrize(
    ("model", "precision", "card", "tp", "fraction", "version", "tokens"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "bf16", "H100-SXM", 1, 0.88, "0.4.1", 444_500),
        # https://github.com/vllm-project/vllm/issues/21348
        ("Qwen/Qwen3-235B-A22B-FP8", "fp8", "H100-SXM", 4, 0.93, "0.4.9", 367_404),
        # https://github.com/ai-dynamo/aisimulate/pull/263: about
        ("deepseek-ai/DeepSeek-R1", "fp8", "H200", 8, 0.82, "0.5.20", 509_000),
    ],
)
def test_what_is_free_before_loading_is_known_to_a_few_percent(
    model: str, precision: str, card: str, tp: int, fraction: float, version: str, tokens: int
):
    found = fit(model, card, tp, fraction, version=version, precision=precision)
    assert found.kv_capacity_tokens == pytest.approx(tokens, rel=0.03)


def test_nothing_but_the_fraction_is_subtracted():
    one = fit("meta-llama/Llama-3.1-8B-Instruct", "H100-SXM", 1, 0.83)
    more = fit("meta-llama/Llama-3.1-8B-Instruct", "H100-SXM", 1, 0.83, seqs=2048, context=131_072)
    assert one.kv_capacity_tokens == more.kv_capacity_tokens
    # a table of 2,049 rows of 131k entries takes 1 GiB beside it
    assert more.outside_bytes - one.outside_bytes == pytest.approx(GIB, rel=0.02)
    assert more.outside_bytes < more.outside_room_bytes


def test_what_does_not_fit_beside_the_fraction_is_seen():
    found = fit("meta-llama/Llama-3.1-8B-Instruct", "H100-SXM", 1, 0.99)
    assert found.outside_bytes > found.outside_room_bytes


def test_a_latent_is_not_divided():
    one, eight = (fit("deepseek-ai/DeepSeek-R1", "H200", tp, 0.9) for tp in (4, 8))
    assert one.kv_bytes_per_token == eight.kv_bytes_per_token


def test_windows_have_a_pool_of_their_own_in_the_models_of_the_list():
    """gpt-oss: 12 full and 12 windowed layers, 0.8 tokens of these for one of those; Gemma 2 keeps
    every token in every layer.
    """
    oss, full = fit("openai/gpt-oss-20b", "H100-SXM", 1, 0.83, precision="mxfp4"), 2 * 8 * 64 * 2
    assert oss.kv_bytes_per_token == pytest.approx(12 * full * 1.8)
    gemma = next(m for m in CATALOG.models.values() if m.architecture == "Gemma2ForCausalLM")
    kept = fit(gemma.name, "H100-SXM", 1, 0.83)
    heads = gemma.attentions[0]
    each = 2 * heads.kv_heads * gemma.head_dim * 2
    assert kept.kv_bytes_per_token == pytest.approx(gemma.layers * each)
    assert kept.pool is None


def test_pages_are_larger_on_blackwell():
    card = {"H100-SXM": 1, "B200": 64}
    for name, page in card.items():
        found = fit("meta-llama/Llama-3.1-8B-Instruct", name, 1, 0.83)
        assert found.block_tokens == page
        assert found.kv_capacity_tokens % page == 0
    assert fit("deepseek-ai/DeepSeek-R1", "B200", 8, 0.85, precision="fp8").block_tokens == 1


def test_states_cap_the_requests():
    """A hybrid keeps 0.9 bytes of state for a byte of cache, three slots a request."""
    hybrid = next(m for m in CATALOG.models.values() if any(one.state for one in m.attentions))
    found = fit(hybrid.name, "H200", 8, 0.9)
    assert found.max_sequences is not None
    assert 0 < found.max_sequences < 100_000


def test_stages_share_one_pool():
    """The stage with the least room decides, and nothing is divided by their number."""
    one = fit("meta-llama/Llama-3.1-8B-Instruct", "H100-SXM", 1, 0.83)
    two = fit("meta-llama/Llama-3.1-8B-Instruct", "H100-SXM", 1, 0.83, pp=2)
    assert two.kv_capacity_tokens > 1.9 * one.kv_capacity_tokens
