"""Where the memory of one GPU goes, and how many tokens its KV cache holds (P4, P5)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guide.catalog import load, release
from guide.domain import Limits, MemoryFit, Switches
from guide.models.arch import weight_counts
from guide.models.precision import PRECISIONS
from guide.perf.memory import activation_bytes, fit_memory
from guide.perf.ops import Layout
from guide.units import GIB

CATALOG = load()
MODELS = (
    "meta-llama/Llama-3.1-8B",
    "meta-llama/Llama-3.1-70B",
    "mistralai/Mixtral-8x7B-v0.1",
    "Qwen/Qwen2-7B",
    "openai/gpt-oss-120b",
    "deepseek-ai/DeepSeek-V3",
)
LIMITS = Limits(
    max_num_seqs=256,
    max_num_batched_tokens=8192,
    gpu_memory_utilization=0.9,
    max_model_len=8192,
)


def fit(
    model: str = "meta-llama/Llama-3.1-8B",
    gpu: str = "A100-80GB",
    layout: Layout = Layout(),  # noqa: B008
    limits: Limits = LIMITS,
    version: str = "0.10.0",
    framework: str = "vLLM",
    switches: Switches = Switches(),
) -> MemoryFit:
    arch = CATALOG.models[model]
    return fit_memory(
        arch,
        CATALOG.gpus[gpu],
        PRECISIONS[arch.precision],
        layout,
        limits,
        release(CATALOG, framework, version),
        switches,
    )


# --- known magnitudes ---


def test_llama_8b_on_80_gib():
    """0.9 x 80 GiB less 15 GiB of weights and a few GiB of workspace is about 54 GiB of 128 KiB a
    token; vLLM logs 26,000 to 29,000 blocks of 16 on such a card.
    """
    memory = fit()
    assert memory.kv_bytes_per_token == 131_072
    assert memory.weight_bytes / GIB == pytest.approx(14.96, abs=0.05)
    assert 26_000 * 16 < memory.kv_capacity_tokens < 29_000 * 16


def test_llama_8b_on_24_gib_keeps_little():
    """Activations and context leave about 4 GiB of 21.6, not the 6.6 that the weights leave."""
    limits = replace(LIMITS, max_num_batched_tokens=2048)
    memory = fit(gpu="RTX4090", limits=limits)
    gross = 0.9 * memory.hbm_bytes - memory.weight_bytes
    assert 0.6 * gross < memory.kv_bytes < 0.95 * gross
    assert 30_000 < memory.kv_capacity_tokens < 50_000


def test_llama_70b_needs_more_than_one_80_gib_gpu():
    assert fit("meta-llama/Llama-3.1-70B").kv_capacity_tokens == 0
    four = fit("meta-llama/Llama-3.1-70B", layout=Layout(tp=4))
    assert four.kv_bytes_per_token == 80 * 2 * 2 * 128 * 2  # 80 layers, two KV heads a GPU
    assert 350_000 < four.kv_capacity_tokens < 480_000


def test_deepseek_v3_on_eight_h200():
    """Of 0.9 x 140 GiB, 671 GB of FP8 over eight GPUs leave 48 GiB (730,000 tokens of 70,272 B)."""
    memory = fit("deepseek-ai/DeepSeek-V3", gpu="H200", layout=Layout(tp=8))
    assert memory.kv_bytes_per_token == 70_272
    assert memory.weight_bytes == pytest.approx(671e9 / 8, rel=0.03)
    assert 550_000 < memory.kv_capacity_tokens < 730_000


def test_fastgen_blocks_hold_64_tokens():
    memory = fit("meta-llama/Llama-3.1-8B", framework="FastGen", version="0.3.3")
    assert memory.block_tokens == 64
    assert memory.kv_capacity_tokens % 64 == 0


# --- the parts ---


def test_the_parts_add_up_to_the_gpu():
    memory = fit()
    parts = memory.weight_bytes + memory.activation_bytes + memory.reserved_bytes + memory.kv_bytes
    assert parts == pytest.approx(memory.hbm_bytes)
    block = memory.kv_bytes_per_token * memory.block_tokens
    assert 0 <= memory.kv_bytes - memory.kv_capacity_tokens * memory.kv_bytes_per_token < block


def test_tied_embeddings_are_held_once():
    tied = CATALOG.models["meta-llama/Llama-3.2-1B"]
    assert tied.tied_embeddings
    memory = fit(tied.name)
    assert memory.weight_bytes == pytest.approx(2 * weight_counts(tied).total)
    untied = replace(tied, tied_embeddings=False)
    apart = fit_memory(
        untied,
        CATALOG.gpus["A100-80GB"],
        PRECISIONS["bf16"],
        Layout(),
        LIMITS,
        release(CATALOG, "vLLM", "0.10.0"),
    )
    assert apart.weight_bytes - memory.weight_bytes == pytest.approx(128256 * 2048 * 2)


def test_activations_grow_with_the_largest_step_and_its_logits():
    arch = CATALOG.models["meta-llama/Llama-3.1-8B"]
    base = activation_bytes(arch, 1, LIMITS)
    longer = replace(LIMITS, max_num_batched_tokens=2 * LIMITS.max_num_batched_tokens)
    wider = replace(LIMITS, max_num_seqs=2 * LIMITS.max_num_seqs)
    assert activation_bytes(arch, 1, longer) - base >= 8192 * 4 * 4096 * 2
    assert activation_bytes(arch, 1, wider) - base == 256 * 128256 * 6
    assert activation_bytes(arch, 2, LIMITS) < base


def test_graphs_are_inside_the_budget_from_0_21_on():
    before, after = fit(version="0.20.0"), fit(version="0.21.0")
    assert after.reserved_bytes > before.reserved_bytes
    assert after.kv_capacity_tokens < before.kv_capacity_tokens


def test_two_gpus_need_collective_buffers():
    one, two = fit(), fit(layout=Layout(tp=2))
    assert two.reserved_bytes > one.reserved_bytes
    alone = fit("mistralai/Mixtral-8x7B-v0.1", gpu="H200")
    ranks = fit("mistralai/Mixtral-8x7B-v0.1", gpu="H200", layout=Layout(attention_ranks=2))
    assert ranks.reserved_bytes > alone.reserved_bytes


def test_kv_quantisation_and_h2o_stretch_the_cache():
    plain = fit()
    assert fit(limits=replace(LIMITS, kv_cache_dtype="fp8")).kv_capacity_tokens == pytest.approx(
        2 * plain.kv_capacity_tokens, rel=1e-3
    )
    kept = fit(switches=Switches(h2o_keep_share=0.25))
    assert kept.kv_capacity_tokens == pytest.approx(4 * plain.kv_capacity_tokens, rel=1e-3)


def test_pipeline_stages_divide_weights_and_cache():
    one = fit("meta-llama/Llama-3.1-70B", layout=Layout(tp=4))
    two = fit("meta-llama/Llama-3.1-70B", layout=Layout(tp=4, pp=2))
    assert two.weight_bytes == pytest.approx(one.weight_bytes / 2)
    assert two.kv_bytes_per_token == one.kv_bytes_per_token / 2
    assert two.kv_capacity_tokens > 2 * one.kv_capacity_tokens


# --- for any layout ---

GPUS = st.sampled_from(["A100-80GB", "H100-SXM", "H200", "L40S", "RTX4090", "MI300X"])
LAYOUTS = st.builds(Layout, tp=st.sampled_from([1, 2, 4, 8]), pp=st.sampled_from([1, 2, 4]))


@given(st.sampled_from(MODELS), GPUS, LAYOUTS, st.floats(0.3, 1.0))
def test_capacity_is_in_whole_blocks_and_fits(
    model: str, gpu: str, layout: Layout, utilization: float
):
    memory = fit(model, gpu, layout, replace(LIMITS, gpu_memory_utilization=utilization))
    assert memory.kv_capacity_tokens % memory.block_tokens == 0
    assert memory.kv_capacity_tokens >= 0
    assert memory.kv_capacity_tokens * memory.kv_bytes_per_token <= memory.kv_bytes


@given(st.sampled_from(MODELS), GPUS, LAYOUTS, st.floats(0.3, 1.0), st.floats(0.3, 1.0))
def test_capacity_grows_with_utilisation(
    model: str, gpu: str, layout: Layout, one: float, other: float
):
    low, high = sorted((one, other))
    less = fit(model, gpu, layout, replace(LIMITS, gpu_memory_utilization=low))
    more = fit(model, gpu, layout, replace(LIMITS, gpu_memory_utilization=high))
    assert less.kv_capacity_tokens <= more.kv_capacity_tokens


@given(st.sampled_from(MODELS), GPUS, LAYOUTS)
def test_capacity_grows_with_tp(model: str, gpu: str, layout: Layout):
    """Also beyond kv_heads, and for the replicated latent: the weights still shrink."""
    wider = replace(layout, tp=2 * layout.tp)
    assert fit(model, gpu, layout).kv_capacity_tokens <= fit(model, gpu, wider).kv_capacity_tokens
