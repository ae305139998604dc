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
from guide.perf.memory import activation_bytes, fit_memory, pipeline_stages, score_bytes
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
    rotary = tied.max_context_tokens * tied.head_dim
    assert memory.weight_bytes == pytest.approx(2 * (weight_counts(tied).total + rotary))
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


def test_the_profile_run_peaks_in_the_forward_or_in_the_sampler():
    """38 bytes a logit for the most sequences, whatever TP; or the largest step through a layer."""
    arch = CATALOG.models["meta-llama/Llama-3.1-8B"]
    older = release(CATALOG, "vLLM", "0.11.0")
    hidden = 8192 * 4096 * 2
    for tp in (1, 8):
        peak = activation_bytes(arch, Layout(tp=tp), LIMITS, older)
        assert peak == 256 * 128256 * 38 + hidden
    few = replace(LIMITS, max_num_seqs=8)
    forward = activation_bytes(arch, Layout(), few, older)
    assert forward == 8192 * (4 * 4096 + 3 * 14336) * 2
    assert activation_bytes(arch, Layout(tp=2), few, older) < forward
    first_stage = activation_bytes(arch, Layout(pp=2), LIMITS, older, last_stage=False)
    assert first_stage == forward, "only the last stage samples"


def test_what_an_encoder_gave_lies_beside_the_peak():
    arch = CATALOG.models["google/gemma-3-27b-it"]
    text = replace(arch, tower_parameters=0)
    for version, more in (("0.11.0", 8192 * 5376 * 2), ("0.6.4", 0)):
        known = release(CATALOG, "vLLM", version)
        both, alone = (activation_bytes(one, Layout(), LIMITS, known) for one in (arch, text))
        assert both - alone == more


@pytest.mark.parametrize(("tp", "context"), [(1, 4096), (2, 16384)])
def test_without_flash_attention_the_scores_of_a_layer_stand_in_memory(tp: int, context: int):
    """Heads x tokens of the largest step x context, in 16 bit; each GPU holds its own heads."""
    few = replace(LIMITS, max_num_seqs=8, max_model_len=context)
    off = Switches(flash_attention=False)
    whole, without = (
        fit(limits=few, layout=Layout(tp=tp), switches=switches) for switches in (Switches(), off)
    )
    scores = 32 / tp * 8192 * context * 2
    assert without.activation_bytes - whole.activation_bytes == scores
    assert without.kv_bytes == pytest.approx(whole.kv_bytes - scores)


def test_scores_of_windowed_layers_reach_no_further_than_their_window():
    few = replace(LIMITS, max_num_seqs=8, max_model_len=8192)
    arch = CATALOG.models["google/gemma-3-27b-it"]
    off, known = Switches(flash_attention=False), release(CATALOG, "vLLM", "0.11.0")
    assert score_bytes(arch, Layout(), few, known, off) == 8192 * 8192 * 32 * 2
    mistral = CATALOG.models["mistralai/Mistral-7B-v0.1"]
    longer = replace(few, max_model_len=32768)
    assert mistral.window_tokens == 4096
    assert score_bytes(mistral, Layout(), longer, known, off) == 8192 * 4096 * 32 * 2


def test_v0_takes_whole_prompts():
    arch = CATALOG.models["meta-llama/Llama-3.1-8B"]
    old = release(CATALOG, "vLLM", "0.6.4")
    few = replace(LIMITS, max_num_seqs=8, max_num_batched_tokens=2048)
    by_length = [
        activation_bytes(arch, Layout(), replace(few, max_model_len=tokens), old)
        for tokens in (8192, 20000, 131072)
    ]
    assert by_length[1] == pytest.approx(by_length[0] * 20000 / 8192)
    assert by_length[2] == pytest.approx(by_length[0] * 2048 / 8192), "longer ones are cut"


@pytest.mark.parametrize(("before", "after"), [("0.19.1", "0.20.0"), ("0.28.0", "0.29.0")])
def test_graphs_are_set_aside_from_0_20_on_by_the_first_runner_and_0_29_by_the_second(
    before: str, after: str
):
    model = "mistralai/Mixtral-8x7B-v0.1" if before < "0.2" else "meta-llama/Llama-3.1-8B"
    less, more = (fit(model, "H200", version=version, limits=LIMITS) for version in (before, after))
    assert more.reserved_bytes > less.reserved_bytes


def test_the_second_runner_keeps_tables_of_penalties_from_0_27_on():
    before, after = (fit(version=version).reserved_bytes for version in ("0.26.0", "0.27.1"))
    assert after - before == pytest.approx(256 * 128256 * 4.125)


@pytest.mark.parametrize(
    ("model", "version", "second"),
    [
        ("Qwen/Qwen3-8B", "0.23.0", True),
        ("Qwen/Qwen3-8B-FP8", "0.23.0", False),  # not is_quantized
        ("Qwen/Qwen3-8B-FP8", "0.24.0", True),
        ("google/gemma-3-27b-it", "0.24.0", False),
        ("google/gemma-3-27b-it", "0.25.1", True),  # not is_moe
        ("openai/gpt-oss-120b", "0.28.0", False),
        ("openai/gpt-oss-120b", "0.29.0", True),
    ],
)
def test_which_model_runner_serves_by_release(model: str, version: str, second: bool):
    """`_is_default_v2_model_runner_model` in config/vllm.py of each wheel."""
    rules = release(CATALOG, "vLLM", version).memory
    assert rules.runs_second(CATALOG.models[model]) is second


def test_hybrids_stay_with_the_first_runner_until_0_29():
    model = next(m for m in CATALOG.models.values() if any(a.state for a in m.attentions))
    dense = replace(model, groups=tuple(replace(g, mlp=None) for g in model.groups))
    for version, second in (("0.28.0", False), ("0.29.0", True)):
        assert release(CATALOG, "vLLM", version).memory.runs_second(dense) is second


def test_memory_is_what_cuda_shows():
    assert fit(gpu="L40S").hbm_bytes == pytest.approx(44.42 * GIB)
    assert CATALOG.gpus["L40S"].hbm_bytes == pytest.approx(44.99 * GIB), "as labels state it"


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


def test_the_heaviest_pipeline_stage_decides():
    """Stages hold whole layers, the last also the head and the sampler."""
    one = fit("meta-llama/Llama-3.1-70B", layout=Layout(tp=4))
    two = fit("meta-llama/Llama-3.1-70B", layout=Layout(tp=4, pp=2))
    assert one.weight_bytes / 2 < two.weight_bytes < 1.01 * one.weight_bytes / 2
    assert two.kv_bytes_per_token == one.kv_bytes_per_token / 2
    assert two.kv_capacity_tokens > 2 * one.kv_capacity_tokens


@given(st.integers(1, 200), st.sampled_from([1, 2, 3, 4, 8]))
def test_stages_are_those_of_vllm(layers: int, pp: int):
    """get_pp_indices of vLLM 0.33: remainders from the second last stage backwards."""
    each = [layers // pp] * pp
    for i in range(2, layers % pp + 2):
        each[-i] += 1
    stages = list(pipeline_stages(layers, pp))
    assert [len(stage) for stage in stages] == each
    assert [place for stage in stages for place in stage] == list(range(layers))


# --- for any layout ---

GPUS = st.sampled_from(["A100-80GB", "H100-SXM", "H200", "L40S", "RTX4090", "MI300X"])
LAYOUTS = st.builds(Layout, tp=st.sampled_from([1, 2, 4, 8]), pp=st.sampled_from([1, 2, 4]))


@given(st.sampled_from(MODELS), GPUS, LAYOUTS, st.floats(0.3, 1.0))
def test_capacity_is_in_whole_blocks_and_fits(
    model: str, gpu: str, layout: Layout, utilization: float
):
    memory = fit(model, gpu, layout, replace(LIMITS, gpu_memory_utilization=utilization))
    assert memory.kv_capacity_tokens >= 0
    if memory.pool is None:
        assert memory.kv_capacity_tokens % memory.block_tokens == 0
        assert memory.kv_capacity_tokens * memory.kv_bytes_per_token <= memory.kv_bytes
    longest = memory.longest_request(10**7)
    assert longest == 0 or memory.concurrency(longest) >= 1
    assert longest == 10**7 or memory.concurrency(longest + 1) < 1


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
