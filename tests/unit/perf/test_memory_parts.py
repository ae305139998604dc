"""Single parts of a GPU's memory: activations of experts, what stays outside, drafts in pools."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guide.catalog import load, release
from guide.domain import GpuPool, Limits, ReplicaGroup, Speculation, SpeculationMethod
from guide.models.precision import own_precision
from guide.perf.memory import activation_bytes, kv_bytes_per_token, memory_fit, reserved_bytes
from guide.perf.ops import Layout

CATALOG = load()
FEW = Limits(  # so few sequences that the forward pass is the peak, not the sampler
    max_num_seqs=8,
    max_num_batched_tokens=8192,
    gpu_memory_utilization=0.9,
    max_model_len=8192,
)


@pytest.mark.parametrize(
    ("layout", "routed"),
    [
        # gate and up of both experts that a token meets, and what goes into down
        (Layout(), 2 * (2 * 14336 + 14336)),
        # each of four GPUs has a quarter of each expert
        (Layout(tp=4), 2 * (2 * 3584 + 3584)),
        # so little of each that the hidden state, which is gathered whole, is wider
        (Layout(tp=8), 2 * (4096 + 1792)),
        # whole experts: of two experts a token meets half a one here
        (Layout(tp=4, expert_parallel=4), 2 / 4 * (2 * 14336 + 14336)),
        # four ranks' tokens meet two experts here, and those of three ranks come from elsewhere
        (Layout(attention_ranks=4, expert_parallel=4), 2 * (2 * 14336 + 14336) + 3 * 4096),
    ],
)
def test_a_step_holds_what_its_tokens_need_of_experts(layout: Layout, routed: float):
    """Mixtral: hidden 4,096, two of eight experts of 14,336 for each token, in 16 bit."""
    mixtral = CATALOG.models["mistralai/Mixtral-8x7B-v0.1"]
    found = activation_bytes(mixtral, layout, FEW, release(CATALOG, "vLLM", "0.11.0"))
    assert found == 8192 * (4 * 4096 + routed) * 2


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_fraction_leaves_its_rest_of_what_was_free(share: float):
    model, gpu = CATALOG.models["meta-llama/Llama-3.1-8B"], CATALOG.gpus["H100-SXM"]
    limits = replace(FEW, gpu_memory_utilization=share)
    parts = reserved_bytes(model, gpu, Layout(), limits, release(CATALOG, "SGLang", "0.5.5"))
    taken, left = parts["taken before loading"], parts["left outside the fraction"]
    assert 0 < taken < 0.05 * gpu.process_bytes
    assert left == pytest.approx((1 - share) * (gpu.process_bytes - taken))


def test_stages_and_heads_share_what_a_token_keeps():
    """Llama: 32 layers, 8 KV heads of 128, keys and values, in 16 bit."""
    model = CATALOG.models["meta-llama/Llama-3.1-8B"]
    for layout, gpus in ((Layout(), 1), (Layout(pp=4), 4), (Layout(tp=2, pp=4), 8)):
        assert kv_bytes_per_token(model, layout) == 32 * 8 * 128 * 2 * 2 / gpus


@pytest.mark.parametrize(
    "model", ["meta-llama/Llama-3.1-8B", "openai/gpt-oss-120b", "google/gemma-3-27b-it"]
)
def test_drafts_without_layers_take_no_memory(model: str):
    """Also where windows have a pool of their own, which counts tokens anew beside a draft."""
    one, newest = alone(model), release(CATALOG, "vLLM")
    ngram = Speculation(method=SpeculationMethod.NGRAM, tokens=3, acceptance=(0.5, 0.5, 0.5))
    plain = memory_fit(one, newest, one.switches)
    drafting = memory_fit(replace(one, speculation=ngram), newest, one.switches)
    assert plain.kv_capacity_tokens > 10_000
    assert drafting.kv_capacity_tokens == pytest.approx(plain.kv_capacity_tokens, abs=16)
    assert drafting.weight_bytes == plain.weight_bytes


def test_weights_of_a_draft_count_where_nothing_fits_too():
    """So that the sentence of what is refused tells the whole need."""
    newest = release(CATALOG, "vLLM")
    one, small = alone("meta-llama/Llama-3.1-405B"), alone("meta-llama/Llama-3.2-1B-Instruct")
    draft = Speculation(
        method=SpeculationMethod.DRAFT_MODEL, tokens=1, acceptance=(0.5,), draft=small.model
    )
    plain, of_draft = (memory_fit(each, newest, one.switches) for each in (one, small))
    drafting = memory_fit(replace(one, speculation=draft), newest, one.switches)
    assert plain.kv_bytes == drafting.kv_bytes == 0
    assert drafting.weight_bytes == pytest.approx(plain.weight_bytes + of_draft.weight_bytes)


def alone(model: str) -> ReplicaGroup:
    """A replica of one GPU."""
    arch, newest = CATALOG.models[model], release(CATALOG, "vLLM")
    return ReplicaGroup(
        pool=GpuPool(
            name="h200",
            gpu=CATALOG.gpus["H200"],
            product="H200",
            source="gfd",
            resource="nvidia.com/gpu",
            gpus_per_node=8,
            free_gpus_by_node=(8,),
        ),
        framework="vLLM",
        version=newest.version,
        model=arch,
        precision=own_precision(arch),
        tp=1,
        pp=1,
        replicas=1,
        limits=FEW,
    )
