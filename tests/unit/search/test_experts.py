"""Replicas that deal experts out whole, and those whose attention is data parallel."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guide.catalog import load, release
from guide.domain import Inventory, Lengths, Plan, Provenance, Recommendation, Workload
from guide.frameworks import FRAMEWORKS, DeploymentOptions
from guide.perf.memory import memory_fit
from guide.search.bounds import quant_group_not_divisible
from guide.search.recommend import recommend
from guide.search.space import Shape, shapes
from tests.handmade import POOL

CATALOG = load()
H200 = replace(POOL, name="h200", gpu=CATALOG.gpus["H200"], free_gpus_by_node=(8,), used_gpus=0)
CLUSTER = Inventory(pools=(H200,))
LATENT, GROUPED = "deepseek-ai/DeepSeek-V3", "Qwen/Qwen3-30B-A3B"


def question(name: str, **load: float | int) -> Plan:
    workload = Workload(
        prompt=Lengths(mean_tokens=1000.0),
        output=Lengths(mean_tokens=400.0),
        **load,  # pyright: ignore[reportArgumentType]
    )
    return Plan(model=CATALOG.models[name], workload=workload, frameworks=("vLLM",))


def spread(name: str, framework: str = "vLLM") -> list[Shape]:
    plan = replace(question(name, requests_per_s=1.0), frameworks=(framework,))
    return [shape for shape in shapes(plan, CLUSTER, CATALOG) if shape.ep > 1]


@pytest.fixture(scope="module")
def busy() -> Recommendation:
    return recommend(question(LATENT, concurrency=3000), CLUSTER, CATALOG)


def test_experts_go_over_all_ranks_and_divide_evenly():
    for name in (LATENT, GROUPED, "openai/gpt-oss-20b"):
        for shape in spread(name):
            assert shape.ep == shape.tp * shape.attention_dp == shape.gpus
            assert shape.variant.model.experts % shape.ep == 0
            assert shape.pp == 1


def test_attention_is_data_parallel_only_where_the_cache_would_be_copied():
    assert any(shape.attention_dp == 8 for shape in spread(LATENT))
    kv_heads = CATALOG.models[GROUPED].kv_heads
    assert all(s.ep > kv_heads for s in spread(GROUPED) if s.attention_dp > 1)


def test_a_dense_model_and_a_framework_without_it_have_none():
    assert spread("meta-llama/Llama-3.1-8B") == []
    assert spread(GROUPED, "FastGen") == []


def test_whole_experts_keep_their_quantised_blocks():
    """Eight slices of 1,536 channels hold one and a half blocks of 128, which vLLM refused before
    0.33; eight ranks hold whole ones."""
    plan = replace(
        question("MiniMaxAI/MiniMax-M2.7", requests_per_s=1.0),
        images=(("vLLM", "vllm/vllm-openai:v0.20.0"),),
    )
    found = {
        (shape.tp, shape.ep): quant_group_not_divisible(shape)
        for shape in shapes(plan, CLUSTER, CATALOG)
        if shape.pp == 1 and shape.attention_dp == 1
    }
    assert found[8, 1] is not None
    assert found[8, 8] is None


def test_ranks_share_the_memory_of_a_replica_without_copies_of_the_cache():
    """DeepSeek-V3 on eight GPUs: tensor parallelism keeps eight copies of each latent."""
    one = release(CATALOG, "vLLM", "0.33.0")
    held = {
        shape.attention_dp: memory_fit(
            shape.group(FRAMEWORKS["vLLM"].default_limits(one, shape.gpu, 8192)),
            one,
            shape.switches,
        )
        for shape in spread(LATENT)
        if shape.gpus == 8
    }
    assert held[8].weight_bytes > held[1].weight_bytes  # attention and shared experts are copied
    assert held[8].replica_kv_tokens > 4 * held[1].replica_kv_tokens
    assert held[8].longest_request(10**7) == held[8].kv_capacity_tokens


def test_many_users_of_a_latent_model_are_served_by_ranks(busy: Recommendation):
    """The best peer measures 1.7 times the tokens of tensor parallelism for this model."""
    assert busy.highest_throughput is not None
    group = busy.highest_throughput.groups[0].group
    assert group.attention_dp > 1
    sliced = next(
        e
        for e in (busy.best, *busy.alternatives, *busy.pareto)
        if e is not None and e.groups[0].group.attention_dp == 1
    )
    gain = (
        busy.highest_throughput.predicted.output_tokens_per_s / sliced.predicted.output_tokens_per_s
    )
    assert 1.3 < gain < 3.0
    assert busy.highest_throughput.provenance is Provenance.EXTRAPOLATED


def test_a_single_user_is_not(busy: Recommendation):
    alone = recommend(question(LATENT, concurrency=1), CLUSTER, CATALOG)
    assert alone.best is not None
    assert alone.best.groups[0].group.attention_dp == 1


def test_the_server_is_started_as_it_was_simulated(busy: Recommendation):
    assert busy.highest_throughput is not None
    group = busy.highest_throughput.groups[0].group
    launch = FRAMEWORKS["vLLM"].launch(group, DeploymentOptions(served_name="chat"))
    assert f"--tensor-parallel-size={group.tp}" in launch.args
    assert f"--data-parallel-size={group.attention_dp}" in launch.args
    assert "--enable-expert-parallel" in launch.args
    assert group.gpus_per_replica == group.tp * group.attention_dp
