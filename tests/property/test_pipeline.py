"""Pipelines of any model on any GPU cost what they must: nothing is gained that physics forbids."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guide.catalog import load
from guide.domain import GpuPool, Lengths, Limits, MemoryFit, ReplicaGroup, StepShape, Workload
from guide.models.precision import own_precision
from guide.perf.memory import pipeline_stages
from guide.perf.pipeline import heaviest_stages
from guide.search.space import modelled_release
from guide.simulate.capacity import layout_cost, saturation, zero_load
from guide.simulate.serve import serve

CATALOG = load()
VLLM = modelled_release(CATALOG, "vLLM")
MODELS = (
    "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen/Qwen3-30B-A3B",
    "openai/gpt-oss-20b",
    "google/gemma-3-27b-it",
    "deepseek-ai/DeepSeek-V3",
)
GPUS = ("H100-SXM", "L40S", "RTX4090", "A100-80GB")
AMPLE = 4_000_000  # KV tokens: memory never decides here
models, gpus = st.sampled_from(MODELS), st.sampled_from(GPUS)
stages = st.sampled_from([2, 4])
lengths = st.tuples(st.integers(16, 4000), st.integers(2, 400))


def group(
    model: str, gpu: str, pp: int = 1, per_node: int = 8, max_num_seqs: int = 256
) -> ReplicaGroup:
    arch = CATALOG.models[model]
    known = CATALOG.gpus[gpu]
    pool = GpuPool(
        name=gpu,
        gpu=known,
        product=gpu,
        source="gfd",
        resource="nvidia.com/gpu",
        gpus_per_node=per_node,
        free_gpus_by_node=(per_node,) * 8,
    )
    return ReplicaGroup(
        pool=pool,
        framework="vLLM",
        version=VLLM.version,
        model=arch,
        precision=own_precision(arch),
        tp=1,
        pp=pp,
        replicas=1,
        limits=Limits(
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=2048,
            gpu_memory_utilization=0.92,
            max_model_len=8192,
        ),
    )


ROUNDING = 0.001  # of batches and prompts per round to whole ones

MEMORY = MemoryFit(
    hbm_bytes=1e12,
    weight_bytes=0.0,
    activation_bytes=0.0,
    reserved_bytes=0.0,
    kv_bytes_per_token=1.0,
    kv_capacity_tokens=AMPLE,
    block_tokens=16,
)


def closed(size: tuple[int, int], users: int) -> Workload:
    prompt, output = (Lengths(mean_tokens=n, p95_tokens=n) for n in size)
    return Workload(prompt=prompt, output=output, concurrency=users)


@given(models, gpus, stages, lengths)
def test_a_request_alone_gains_nothing_from_stages(
    model: str, gpu: str, pp: int, size: tuple[int, int]
):
    load = closed(size, 1)
    _, plain_s = zero_load(group(model, gpu), MEMORY, load, CATALOG)
    _, staged_s = zero_load(group(model, gpu, pp), MEMORY, load, CATALOG)
    assert staged_s > plain_s
    # and loses only the hops
    assert staged_s < 1.5 * plain_s


@given(models, gpus, stages, lengths)
def test_a_full_pipeline_serves_less_than_as_many_replicas(
    model: str, gpu: str, pp: int, size: tuple[int, int]
):
    load = closed(size, 1000)
    plain, staged = group(model, gpu, max_num_seqs=256 // pp), group(model, gpu, pp)
    alone_per_s = saturation(plain, MEMORY, load, CATALOG)
    assert saturation(staged, MEMORY, load, CATALOG) < pp * alone_per_s * (1 + ROUNDING)


@settings(max_examples=12)
@given(models, gpus, stages, lengths, st.sampled_from([50, 60]))
def test_simulated_pipelines_serve_less_than_as_many_replicas(
    model: str, gpu: str, pp: int, size: tuple[int, int], users: int
):
    one = serve(group(model, gpu), MEMORY, closed(size, users), CATALOG, seed=0)
    staged = serve(group(model, gpu, pp), MEMORY, closed(size, pp * users), CATALOG, seed=0)
    assert staged.requests_per_s < pp * one.requests_per_s


@given(models, gpus, stages, st.integers(1, 300), st.integers(0, 200_000))
def test_a_round_is_no_shorter_than_the_way_through_all_stages(
    model: str, gpu: str, pp: int, decodes: int, context: int
):
    plain, _ = layout_cost(group(model, gpu), CATALOG)
    staged, _ = layout_cost(group(model, gpu, pp), CATALOG)
    share = -(-decodes // min(pp, decodes))
    part = context / min(pp, decodes)
    assert staged.decode_run(1, decodes, context, 0) > plain.decode_run(1, share, part, 0)


@given(models, gpus, stages, st.integers(1, 2048), st.integers(0, 64))
def test_no_prompt_is_read_faster_than_by_all_layers_in_turn(
    model: str, gpu: str, pp: int, prompt: int, decodes: int
):
    plain, _ = layout_cost(group(model, gpu), CATALOG)
    staged, _ = layout_cost(group(model, gpu, pp), CATALOG)
    pairs = prompt * (prompt + 1) / 2
    beside = decodes // pp
    alone_s = plain.prompt_step(prompt, 1, pairs, 0, beside, 100 * beside, 0, beside + 1)
    round_s = staged.prompt_step(prompt, 1, pairs, 0, decodes, 100 * decodes, 0, decodes + 1)
    assert round_s > 0.999 * alone_s


@given(models, st.integers(1, 8))
def test_stages_hold_every_layer_once(model: str, pp: int):
    arch = CATALOG.models[model]
    cut = list(pipeline_stages(arch.layers, pp))
    assert [i for stage in cut for i in stage] == list(range(arch.layers))
    kept = heaviest_stages(arch, pp)
    assert kept[-1].head or any(stage.head for stage in kept)  # nothing else does the head's work
    assert max(stage.arch.layers for stage in kept) == max(map(len, cut))


def test_the_head_makes_the_last_stage_the_heaviest():
    arch = CATALOG.models["meta-llama/Llama-3.1-8B-Instruct"]
    (stage,) = heaviest_stages(arch, 2)
    assert stage.head
    assert stage.arch.layers == 16


@pytest.mark.parametrize("per_node", [1, 2])
def test_the_way_between_nodes_costs_more_than_a_link(per_node: int):
    shape = StepShape(prefill_tokens=2048, prefill_sequences=1, sampled_sequences=1)

    def seconds(per_node: int, bytes_per_s: float = 450e9) -> float:
        one = group(MODELS[0], "H100-SXM", 4, per_node)
        gpu = replace(CATALOG.gpus["H100-SXM"])
        gpu = replace(gpu, link=replace(gpu.link, bytes_per_s=bytes_per_s))
        cost, _ = layout_cost(replace(one, pool=replace(one.pool, gpu=gpu)), CATALOG)
        return cost.prompt_step(int(shape.prefill_tokens), 1, 0.0, 0.0, 0, 0.0, 0.0, 1)

    assert seconds(per_node) > seconds(8)
    assert seconds(8, 25e9) > seconds(8)
