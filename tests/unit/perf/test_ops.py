"""The operator table against layers computed by hand from the published architectures.

Every literal below follows from the config.json dimensions in the comment above it.
"""

from __future__ import annotations

import pytest

from guide.catalog import load
from guide.domain import Catalog, ModelArch, StepShape, Switches
from guide.models.arch import weight_counts
from guide.models.precision import PRECISIONS
from guide.perf.ops import Layout, Operator, Role, operator_table, resident_weight_bytes
from guide.perf.roofline import roofs

BF16 = PRECISIONS["bf16"]
ONE = Layout()


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


@pytest.fixture(scope="module")
def llama(catalog: Catalog) -> ModelArch:
    return catalog.models["meta-llama/Llama-3.1-8B"]


@pytest.fixture(scope="module")
def mixtral(catalog: Catalog) -> ModelArch:
    return catalog.models["mistralai/Mixtral-8x7B-v0.1"]


@pytest.fixture(scope="module")
def deepseek(catalog: Catalog) -> ModelArch:
    return catalog.models["deepseek-ai/DeepSeek-V3"]


@pytest.fixture(scope="module")
def gpt_oss(catalog: Catalog) -> ModelArch:
    return catalog.models["openai/gpt-oss-120b"]


def row(table: tuple[Operator, ...], name: str) -> Operator:
    return next(r for r in table if r.name == name)


def names(table: tuple[Operator, ...]) -> set[str]:
    return {r.name for r in table}


# --- Llama-3.1-8B: 32 layers, hidden 4096, 32 heads of 128, 8 KV heads, ffn 14336, vocab 128256 ---

LLAMA_ATTENTION = 2 * 4096 * 4096 + 2 * 4096 * 1024  # q and o, k and v: 41,943,040 a layer
LLAMA_MLP = 3 * 4096 * 14336  # gate, up, down: 176,160,768 a layer


def test_llama_on_one_gpu(llama: ModelArch):
    table = operator_table(llama, BF16, ONE)
    projections, mlp = row(table, "attention projections"), row(table, "mlp")
    assert projections.weight_bytes == 32 * LLAMA_ATTENTION * 2 == 2_684_354_560
    assert projections.flop == 32 * LLAMA_ATTENTION * 2  # one multiply-add a weight and token
    assert mlp.weight_bytes == mlp.flop == 32 * LLAMA_MLP * 2 == 11_274_289_152
    assert row(table, "embedding").weight_bytes == 128256 * 4096 * 2 == 1_050_673_152
    head = row(table, "lm_head")
    assert head.role is Role.HEAD
    assert head.weight_bytes == head.flop == 128256 * 4096 * 2
    attention = row(table, "attention")
    assert attention.bytes == 32 * 2 * 8 * 128 * 2 == 131_072  # K and V, 8 heads, 16 bit
    assert attention.flop == 32 * 4 * 32 * 128  # QK^T and PV: 2 multiply-adds a head and dimension
    assert attention.pair_bytes == 0.0
    assert not {"routed experts", "router", "shared experts", "all-reduce"} & names(table)
    assert "sliding-window attention" not in names(table)


def test_llama_tensor_parallel(llama: ModelArch):
    one = operator_table(llama, BF16, ONE)
    four = operator_table(llama, BF16, Layout(tp=4))
    for name in ("attention projections", "mlp", "lm_head"):
        assert row(four, name).weight_bytes == row(one, name).weight_bytes / 4
        assert row(four, name).flop == row(one, name).flop / 4
    assert row(four, "embedding").weight_bytes == row(one, "embedding").weight_bytes / 4
    assert row(four, "attention").bytes == 131_072 / 4
    assert row(four, "attention").flop == row(one, "attention").flop / 4
    # two all-reduces a layer of hidden x 16 bit; a ring moves 2 (tp-1)/tp of the message
    assert row(four, "all-reduce").bytes == pytest.approx(2 * 32 * 4096 * 2 * 2 * 3 / 4)
    # norms and element-wise work are replicated
    assert row(four, "norms and element-wise") == row(one, "norms and element-wise")


@pytest.mark.parametrize(("tp", "kv_bytes"), [(8, 16_384), (16, 16_384), (32, 16_384)])
def test_kv_heads_are_replicated_beyond_kv_heads(llama: ModelArch, tp: int, kv_bytes: int):
    """A GPU holds at least one KV head: 32 layers x 2 x 1 x 128 x 2 B."""
    table = operator_table(llama, BF16, Layout(tp=tp))
    assert row(table, "attention").bytes == kv_bytes
    assert row(table, "attention").flop == 32 * 4 * 32 * 128 / tp  # queries are still split


def test_kv_cache_types(llama: ModelArch):
    for dtype, share in (("auto", 1.0), ("fp8", 0.5), ("fp8_e5m2", 0.5), ("nvfp4", 0.28125)):
        table = operator_table(llama, BF16, ONE, dtype)
        assert row(table, "attention").bytes == 131_072 * share


# --- Mixtral-8x7B: the same attention, 8 experts of 4096 x 14336, 2 active ------------------------


def test_mixtral(mixtral: ModelArch):
    table = operator_table(mixtral, BF16, ONE)
    experts = row(table, "routed experts")
    assert experts.role is Role.EXPERT
    assert experts.weight_bytes == 32 * 8 * LLAMA_MLP * 2 == 90_194_313_216
    assert experts.flop == 32 * 2 * LLAMA_MLP * 2  # a token meets two of eight
    assert row(table, "router").weight_bytes == 32 * 4096 * 8 * 2
    assert row(table, "attention projections").weight_bytes == 32 * LLAMA_ATTENTION * 2
    assert row(table, "attention").bytes == 131_072
    assert "mlp" not in names(table)


def test_experts_are_spread_over_attention_ranks_but_attention_is_not(mixtral: ModelArch):
    spread = operator_table(mixtral, BF16, Layout(tp=2, attention_ranks=4))
    alone = operator_table(mixtral, BF16, Layout(tp=2))
    assert row(spread, "routed experts").weight_bytes == 32 * 8 * LLAMA_MLP * 2 / 8
    assert row(alone, "routed experts").weight_bytes == 32 * 8 * LLAMA_MLP * 2 / 2
    for name in ("attention projections", "attention", "router"):
        assert row(spread, name) == row(alone, name)


# --- DeepSeek-V3: 61 layers (3 dense), hidden 7168, 128 heads, latent 512 + 64, q_lora 1536 -------

DEEPSEEK_ATTENTION = (
    7168 * 1536 + 1536 * 128 * (128 + 64)  # q down, q up
    + 7168 * (512 + 64)  # latent and rotary key
    + 512 * 128 * (128 + 128)  # k and v up
    + 128 * 128 * 7168  # output
)  # fmt: skip
DEEPSEEK_EXPERT = 3 * 7168 * 2048


def test_deepseek_mla(deepseek: ModelArch):
    assert DEEPSEEK_ATTENTION == 187_105_280
    table = operator_table(deepseek, PRECISIONS["fp8"], ONE)
    projections = row(table, "attention projections")
    assert projections.weight_bytes == 61 * DEEPSEEK_ATTENTION  # one byte a weight
    assert projections.flop == 61 * DEEPSEEK_ATTENTION * 2
    assert row(table, "mlp").weight_bytes == 3 * 3 * 7168 * 18432
    assert row(table, "shared experts").weight_bytes == 58 * DEEPSEEK_EXPERT
    assert row(table, "routed experts").weight_bytes == 58 * 256 * DEEPSEEK_EXPERT
    assert row(table, "routed experts").flop == pytest.approx(58 * 8 * DEEPSEEK_EXPERT * 2)
    assert row(table, "router").weight_bytes == 58 * 7168 * 256 * 2
    attention = row(table, "attention")
    assert attention.bytes == 61 * (512 + 64) * 2 == 70_272  # one latent, not 128 heads
    # prefill: heads of 192 for scores, 128 for values
    assert attention.flop == 61 * 2 * 128 * (192 + 128)
    # decode works on the latent itself: 576 for scores, 512 for values, in every head
    assert attention.context_flop == 61 * 2 * 128 * (576 + 512)


def test_the_mla_latent_is_replicated_under_tp(deepseek: ModelArch):
    table = operator_table(deepseek, PRECISIONS["fp8"], Layout(tp=8))
    assert row(table, "attention").bytes == 70_272
    assert row(table, "attention").flop == 61 * 2 * 128 * 320 / 8
    assert row(table, "attention").context_flop == 61 * 2 * 128 * 1088 / 8


# --- gpt-oss-120b: 36 layers, 18 with a window of 128; hidden 2880, 64 heads of 64, 8 KV heads ----


def test_gpt_oss_windows_and_mxfp4_experts(gpt_oss: ModelArch):
    table = operator_table(gpt_oss, PRECISIONS["mxfp4"], ONE)
    full, window = row(table, "attention"), row(table, "sliding-window attention")
    assert (full.role, window.role) == (Role.ATTENTION, Role.WINDOW)
    assert full.bytes == window.bytes == 18 * 2 * 8 * 64 * 2 == 36_864
    assert full.flop == window.flop == 18 * 4 * 64 * 64
    # MXFP4 experts with one scale byte per 32 weights, attention in 16 bit
    expert = 3 * 2880 * 2880
    assert row(table, "routed experts").weight_bytes == 36 * 128 * expert * (0.5 + 1 / 32)
    assert row(table, "routed experts").flop == pytest.approx(36 * 4 * expert * 2)
    projections = 2 * 2880 * 4096 + 2 * 2880 * 512
    assert row(table, "attention projections").weight_bytes == 36 * projections * 2


# --- the paper's switches (P8) ---


def test_h2o_shrinks_kv_bytes_and_decode_work_only(llama: ModelArch):
    plain = operator_table(llama, BF16, ONE)
    fifth = operator_table(llama, BF16, ONE, switches=Switches(h2o_keep_share=0.2))
    assert row(fifth, "attention").bytes == pytest.approx(0.2 * 131_072)
    assert row(fifth, "attention").context_flop == pytest.approx(
        0.2 * row(plain, "attention").context_flop
    )
    assert row(fifth, "attention").flop == row(plain, "attention").flop  # prefill attends to all
    rest = [r for r in plain if r.name != "attention"]
    assert rest == [r for r in fifth if r.name != "attention"]


def test_without_flash_attention_scores_travel_through_memory(llama: ModelArch):
    plain = operator_table(llama, BF16, Layout(tp=2))
    slow = operator_table(llama, BF16, Layout(tp=2), switches=Switches(flash_attention=False))
    # written, read by the softmax, probabilities read: three passes of 16 bit, 16 heads, 32 layers
    assert row(slow, "attention").pair_bytes == 32 * 16 * 3 * 2
    assert row(slow, "attention").bytes == row(plain, "attention").bytes
    assert row(plain, "attention").pair_bytes == 0


# --- one table, one count ---


def test_the_weights_of_the_table_are_those_of_the_model(catalog: Catalog):
    """At 16 bit on one GPU the table holds every parameter once; a tied head adds no memory."""
    for arch in catalog.models.values():
        table = operator_table(arch, BF16, ONE)
        held = resident_weight_bytes(table, arch, 1)
        assert held == pytest.approx(2 * weight_counts(arch).total, rel=1e-12), arch.name


def test_a_tied_head_is_read_but_not_held_twice(catalog: Catalog):
    tied = catalog.models["meta-llama/Llama-3.2-1B"]
    table = operator_table(tied, BF16, ONE)
    assert row(table, "lm_head").weight_bytes == row(table, "embedding").weight_bytes > 0
    assert sum(r.weight_bytes for r in table) - resident_weight_bytes(table, tied, 1) == (
        128256 * 2048 * 2
    )


def test_pipeline_stages_share_the_weights(llama: ModelArch):
    table = operator_table(llama, BF16, Layout(pp=4))
    assert table == operator_table(llama, BF16, ONE)  # a step crosses every stage
    assert resident_weight_bytes(table, llama, 4) == resident_weight_bytes(table, llama, 1) / 4


# --- roofline of the table (P3) ---


def decode(sequences: int, context: int) -> StepShape:
    return StepShape(
        decode_sequences=sequences,
        decode_context_tokens=sequences * context,
        sampled_sequences=sequences,
    )


def test_decode_is_bound_by_memory_and_prefill_by_compute(catalog: Catalog, llama: ModelArch):
    gpu = catalog.gpus["A100-80GB"]
    small = {r.name: r for r in roofs(llama, gpu, BF16, ONE, decode(4, 1000))}
    assert all(small[n].bound == "memory" for n in ("mlp", "attention", "lm_head"))
    assert small["mlp"].intensity == pytest.approx(4.0)  # 2 FLOPs a weight and token over 2 bytes
    assert small["mlp"].memory_s == pytest.approx(11_274_289_152 / gpu.hbm_bytes_per_s)
    assert small["attention"].bytes == 131_072 * 4000
    prompt = StepShape(
        prefill_tokens=4096,
        prefill_sequences=1,
        attended_pairs=4096 * 4097 / 2,
        sampled_sequences=1,
    )
    large = {r.name: r for r in roofs(llama, gpu, BF16, ONE, prompt)}
    assert all(large[n].bound == "compute" for n in ("mlp", "attention projections", "attention"))
    assert large["mlp"].compute_s == pytest.approx(11_274_289_152 * 4096 / gpu.fp16_flop_per_s)
    assert large["lm_head"].bound == "memory"  # one sampled sequence, whatever the prompt


def test_a_link_binds_the_all_reduce(catalog: Catalog, llama: ModelArch):
    gpu = catalog.gpus["RTX4090"]
    found = {r.name: r for r in roofs(llama, gpu, BF16, Layout(tp=2), decode(4, 100))}
    assert found["all-reduce"].bound == "network"
    assert found["all-reduce"].network_s == pytest.approx(
        4 * 2 * 32 * 4096 * 2 / gpu.link.bytes_per_s
    )


def test_experts_are_reached_by_the_tokens_of_all_attention_ranks(
    catalog: Catalog, mixtral: ModelArch
):
    """One token reaches 2 of 8 experts; two independent ones 1 - (3/4)^2 of them."""
    gpu = catalog.gpus["H100-SXM"]

    def expert_bytes(ranks: int, sequences: int) -> float:
        table = roofs(mixtral, gpu, BF16, Layout(attention_ranks=ranks), decode(sequences, 10))
        return next(r.bytes for r in table if r.name == "routed experts")

    total = 32 * 8 * LLAMA_MLP * 2
    assert expert_bytes(1, 1) == pytest.approx(total * 2 / 8)
    assert expert_bytes(1, 2) == pytest.approx(total * (1 - 0.75**2))
    assert expert_bytes(2, 1) == pytest.approx(total / 2 * (1 - 0.75**2))
    assert expert_bytes(1, 10_000) == pytest.approx(total)


def test_the_roof_of_decode_attention_falls_with_h2o(catalog: Catalog, llama: ModelArch):
    gpu = catalog.gpus["A100-80GB"]

    def attention(keep: float) -> tuple[float, float]:
        table = roofs(
            llama, gpu, BF16, ONE, decode(4, 1000), switches=Switches(h2o_keep_share=keep)
        )
        found = next(r for r in table if r.name == "attention")
        return found.compute_s, found.memory_s

    assert attention(0.25) == pytest.approx(tuple(0.25 * s for s in attention(1.0)))
