"""Speculation of any kind on any batch costs what it must: nothing is gained for free."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guide.catalog import load
from guide.domain import (
    GpuPool,
    Lengths,
    Limits,
    MemoryFit,
    Plan,
    ReplicaGroup,
    Speculation,
    SpeculationMethod,
    Workload,
)
from guide.models.drafts import eagle_head, prediction_model
from guide.models.precision import own_precision
from guide.perf.memory import draft_bytes, draft_kv_bytes_per_token, memory_fit
from guide.search.evaluate import Study
from guide.search.space import modelled_release
from guide.search.speculation import Compared
from guide.simulate.capacity import layout_cost, rate_of, zero_load
from guide.simulate.serve import serve
from guide.simulate.tasks import stepping_of

CATALOG = load()
VLLM = modelled_release(CATALOG, "vLLM")
LLAMA, SMALL = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.2-1B-Instruct"
MODELS = (LLAMA, "Qwen/Qwen3.6-35B-A3B", "zai-org/GLM-5-FP8")
METHODS = tuple(SpeculationMethod)
GPUS = ("H100-SXM", "L40S", "MI300X")

models, gpus, methods = map(st.sampled_from, (MODELS, GPUS, METHODS))
batches, drafted = st.integers(1, 256), st.integers(1, 8)
shares = st.floats(0, 1)


def group(model: str, gpu: str = "H100-SXM", tp: int = 1) -> ReplicaGroup:
    arch = CATALOG.models[model]
    pool = GpuPool(
        name=gpu,
        gpu=CATALOG.gpus[gpu],
        product=gpu,
        source="gfd",
        resource="nvidia.com/gpu",
        gpus_per_node=8,
        free_gpus_by_node=(8,),
    )
    limits = Limits(
        max_num_seqs=256,
        max_num_batched_tokens=8192,
        gpu_memory_utilization=0.92,
        max_model_len=8192,
    )
    return ReplicaGroup(
        pool=pool,
        framework="vLLM",
        version=VLLM.version,
        model=arch,
        precision=own_precision(arch),
        tp=tp,
        pp=1,
        replicas=1,
        limits=limits,
    )


def drafts(model: str, method: SpeculationMethod, tokens: int, share: float) -> Speculation | None:
    arch = CATALOG.models[model]
    if method is SpeculationMethod.MTP and not arch.mtp:
        return None
    layers = {
        SpeculationMethod.MTP: prediction_model(arch),
        SpeculationMethod.EAGLE: eagle_head(arch),
        SpeculationMethod.NGRAM: None,
        SpeculationMethod.DRAFT_MODEL: CATALOG.models[SMALL],
    }
    given_ = Speculation(method=method, tokens=tokens, acceptance=(), draft=layers[method])
    return given_.accepting(share)


@given(models, gpus, methods, drafted, batches, st.integers(16, 8000))
@settings(max_examples=60, deadline=None)
def test_without_a_hit_no_batch_is_faster(
    model: str, gpu: str, method: SpeculationMethod, tokens: int, batch: int, context: int
):
    speculation = drafts(model, method, tokens, 0.0)
    if speculation is None:
        return
    one = group(model, gpu)
    plain, _ = layout_cost(one, CATALOG)
    cost, _ = layout_cost(replace(one, speculation=speculation), CATALOG)
    inside = batch * min(context, one.model.window_tokens or 0)
    step = (1, batch, batch * context, inside)
    assert cost.decode_run(*step) >= plain.decode_run(*step) * (1 - 1e-9)
    prompt = (512, 1, 512 * 256.0, 512 * 128.0, batch, batch * context, inside, batch + 1)
    assert cost.prompt_step(*prompt) >= plain.prompt_step(*prompt) * (1 - 1e-9)


@given(models, methods, drafted, batches, shares, shares)
@settings(max_examples=40, deadline=None)
def test_a_token_comes_sooner_the_more_drafts_hold(
    model: str, method: SpeculationMethod, tokens: int, batch: int, a: float, b: float
):
    few, many = (drafts(model, method, tokens, share) for share in sorted((a, b)))
    if few is None or many is None:
        return
    slow, fast = (
        layout_cost(replace(group(model), speculation=s), CATALOG)[0] for s in (few, many)
    )
    step = (1, batch, batch * 1000.0, 0.0)
    assert fast.decode_run(*step) <= slow.decode_run(*step) * (1 + 1e-9)
    assert 1 <= few.tokens_per_step <= many.tokens_per_step <= tokens + 1


def test_expected_tokens_are_one_and_each_draft_up_to_the_first_miss():
    speculation = Speculation(method=SpeculationMethod.NGRAM, tokens=3, acceptance=(0.8, 0.5, 0.25))
    assert speculation.tokens_per_step == pytest.approx(1 + 0.8 + 0.8 * 0.5 + 0.8 * 0.5 * 0.25)


@pytest.mark.parametrize("model", MODELS[:2])
@pytest.mark.parametrize("method", METHODS)
def test_gains_shrink_as_the_batch_grows(model: str, method: SpeculationMethod):
    speculation = drafts(model, method, 4, 0.7)
    if speculation is None:
        return
    plain, _ = layout_cost(group(model), CATALOG)
    cost, _ = layout_cost(replace(group(model), speculation=speculation), CATALOG)

    def gain(batch: int) -> float:
        step = (1, batch, batch * 500.0, 0.0)
        return plain.decode_run(*step) / cost.decode_run(*step)

    if method is not SpeculationMethod.DRAFT_MODEL:  # which may cost what a sparse model saves
        assert gain(1) > 1
    assert gain(2048) < gain(1)
    hopeless, _ = layout_cost(
        replace(group(model), speculation=speculation.accepting(0.1)), CATALOG
    )
    assert hopeless.decode_run(1, 2048, 1e6, 0) > plain.decode_run(1, 2048, 1e6, 0)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("framework", ["vLLM", "SGLang"])
def test_memory_grows_with_a_draft(model: str, method: SpeculationMethod, framework: str):
    speculation = drafts(model, method, 2, 0.5)
    if speculation is None:
        return
    release = modelled_release(CATALOG, framework)
    one = replace(group(model, "H200", tp=8), framework=framework, version=release.version)
    speculating = replace(one, speculation=speculation)
    plain = memory_fit(one, release, one.switches)
    drafting = memory_fit(speculating, release, one.switches)
    some = method is not SpeculationMethod.NGRAM
    assert (draft_bytes(speculating, release) > 0) is some
    assert (draft_kv_bytes_per_token(speculating) > 0) is some
    assert (drafting.weight_bytes > plain.weight_bytes) is some
    assert drafting.kv_capacity_tokens <= plain.kv_capacity_tokens
    assert (drafting.kv_capacity_tokens < plain.kv_capacity_tokens) or not some


LOAD = Workload(
    prompt=Lengths(mean_tokens=400, p95_tokens=400),
    output=Lengths(mean_tokens=100, p95_tokens=100),
    concurrency=16,
)


def test_break_even_is_where_with_and_without_are_alike():
    speculation = drafts(LLAMA, SpeculationMethod.EAGLE, 3, 0.7)
    assert speculation is not None
    one = replace(group(LLAMA), speculation=speculation)
    study = Study(plan=Plan(model=one.model, workload=LOAD), catalog=CATALOG)
    compared = Compared(one, VLLM, study)
    found = compared.break_even(LOAD)
    assert found is not None
    assert 0 < found < 0.7  # it pays here

    def tpot_s(share: float) -> float:
        return compared.report(LOAD, speculation.accepting(share)).tpot.mean_s

    plain_s = compared.report(LOAD, None).tpot.mean_s
    assert tpot_s(found) <= plain_s < tpot_s(found - 0.02)
    assert tpot_s(found) == pytest.approx(plain_s, rel=0.02)


def test_the_loop_and_the_estimates_agree_on_what_speculation_gains():
    speculation = drafts(LLAMA, SpeculationMethod.MTP, 2, 0.8)
    assert speculation is None  # no prediction layers
    speculation = drafts(LLAMA, SpeculationMethod.NGRAM, 2, 0.8)
    assert speculation is not None
    one = replace(group(LLAMA), speculation=speculation)
    memory = MemoryFit(
        hbm_bytes=1e12,
        weight_bytes=0.0,
        activation_bytes=0.0,
        reserved_bytes=0.0,
        kv_bytes_per_token=1.0,
        kv_capacity_tokens=4_000_000,
        block_tokens=16,
    )
    cost, serving = layout_cost(one, CATALOG)
    users = LOAD.concurrency or 0
    report = serve(one, memory, LOAD, CATALOG, seed=0)
    assert report.requests_per_s == pytest.approx(
        rate_of(cost, stepping_of(one), LOAD, users), rel=0.1
    )
    alone = replace(LOAD, concurrency=1)
    _, tpot_s = zero_load(one, memory, alone, CATALOG)
    quiet = serve(one, memory, alone, CATALOG, seed=0)
    assert quiet.tpot.mean_s == pytest.approx(tpot_s, rel=0.05)
    assert serving.u >= 0
