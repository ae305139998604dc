"""The mechanisms of the paper, by the numbers of DESIGN.md's table, on the shipped catalogue."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest

from guide.catalog import load
from guide.domain import (
    Budget,
    Catalog,
    Inventory,
    Lengths,
    MemoryFit,
    Plan,
    ReplicaGroup,
    Slo,
    Switches,
    Tolerance,
    Workload,
)
from guide.perf.adjust import (
    adjust_batch_size,
    adjust_sequence_length,
    available_memory,
    kv_memory_per_request,
    max_parallelism,
    prompt_split_size,
)
from guide.search.evaluate import Study
from guide.search.explore import survey
from guide.search.hybrid import simulate_hybrid_parallel, simulate_task_execution
from guide.search.operating_point import Replica
from guide.search.pricing import priced
from guide.search.rank import capacity_per_s
from guide.search.recommend import recommend
from guide.search.space import get_configurations
from guide.simulate import tasks
from guide.simulate.batch import Batch, serve_batch
from guide.simulate.capacity import layout_cost
from tests import toy

LLAMA = "meta-llama/Llama-2-7b-hf"
BATCH = Batch(requests=16, prompt_tokens=512, output_tokens=64)


@cache
def catalog() -> Catalog:
    return load()


def plan(**changes: object) -> Plan:
    workload = Workload(
        prompt=Lengths(mean_tokens=512, p95_tokens=1024),
        output=Lengths(mean_tokens=128, p95_tokens=256),
        requests_per_s=2.0,
        max_context_tokens=2048,
    )
    asked = Plan(model=catalog().models[LLAMA], workload=workload, frameworks=("vLLM",))
    return replace(asked, **changes)  # pyright: ignore[reportArgumentType]


def cluster(name: str = "A100-80GB", free: tuple[int, ...] = (4,)) -> Inventory:
    return Inventory(pools=(toy.pool(name.lower(), catalog().gpus[name], free),))


def replica(tp: int = 1, asked: Plan | None = None, name: str = "A100-80GB") -> Replica:
    found = survey(Study(plan=asked or plan(), catalog=catalog()), priced(cluster(name), catalog()))
    return next(r for r in found.replicas if r.shape.tp == tp and r.shape.pp == 1)


def group(tp: int = 1, replicas: int = 1, share: float = 1.0) -> tuple[ReplicaGroup, MemoryFit]:
    one = replica(tp)
    return one.group(replicas, share), one.memory


# --- P1, P2: the inference engine ---


def test_p2_three_best_the_widest_and_the_fastest_within_budget():
    found = recommend(plan(budget=Budget(max_gpus=4)), cluster(), catalog())
    assert found.best is not None
    assert len(found.alternatives) == 2
    assert found.highest_throughput is not None
    assert found.lowest_latency is not None
    three = (found.best, *found.alternatives)
    assert capacity_per_s(found.highest_throughput) >= max(map(capacity_per_s, three)) * 0.98
    fastest = found.lowest_latency.predicted.e2e_interval.upper
    assert fastest <= min(e.predicted.e2e_interval.upper for e in three) * 1.02
    assert all(e.gpus <= 4 for e in three)


# --- P4, P5: memory and parallelism ---


def test_p4_kv_memory_is_the_papers_formula_for_multi_head_attention():
    model = catalog().models[LLAMA]  # 32 layers, hidden 4096, as many KV heads as heads
    per_request = kv_memory_per_request(model, 1024)
    assert per_request == 2 * 32 * 4096 * 1024 * 2


def test_p4_grouped_query_attention_and_switches_shrink_it():
    model = catalog().models["Qwen/Qwen2-7B"]  # 28 layers, 4 KV heads of 128
    whole = kv_memory_per_request(model, 100)
    assert whole == 2 * 28 * 4 * 128 * 100 * 2
    eight_bit = kv_memory_per_request(model, 100, "fp8")
    h2o = kv_memory_per_request(model, 100, switches=Switches(h2o_keep_share=0.2))
    assert eight_bit == whole / 2
    assert h2o == pytest.approx(whole / 5)


def test_p5_available_memory_and_parallelism():
    one, two = replica(1), replica(2)
    m = one.memory
    slices = m.weight_bytes, two.memory.weight_bytes
    assert available_memory(m) == pytest.approx(
        m.hbm_bytes - m.weight_bytes - m.activation_bytes - m.reserved_bytes
    )
    assert slices[0] == pytest.approx(2 * slices[1], rel=0.01)  # the model slice of TP 2
    tokens = 512 + 128
    by_bytes = available_memory(m) / (m.kv_bytes_per_token * tokens)
    assert max_parallelism(m, tokens) == pytest.approx(by_bytes, abs=1.5)
    assert one.max_concurrent_requests == min(one.limits.max_num_seqs, max_parallelism(m, tokens))


# --- P6, P7: dynamic adjustment ---


def test_p6_batch_is_clamped_and_split_with_a_remainder():
    batch = adjust_batch_size(50, most=32, split_size=12)
    assert batch.size == 32
    assert batch.sub_batches == (12, 12, 8)
    assert adjust_batch_size(8, most=32).sub_batches == (8,)
    assert adjust_batch_size(8, most=0).size == 1


def test_p6_the_simulator_forms_these_sub_batches():
    """A step takes as many whole prompts as its token budget holds: three sub-batches, three
    times the prompt phase.
    """
    g, memory = group()
    split = prompt_split_size(g.limits.max_num_batched_tokens, 512)
    batch = adjust_batch_size(3 * split, 64, split)
    assert len(batch.sub_batches) == 3
    one, three = (
        serve_batch(g, memory, replace(BATCH, requests=n), catalog()).ttft_s
        for n in (split, batch.size)
    )
    assert three == pytest.approx(3 * one, rel=0.2)


def test_p6_a_batch_beyond_memory_waits():
    tight, memory = group()
    few = replace(memory, kv_capacity_tokens=8 * 640)
    held = serve_batch(tight, few, BATCH, catalog())
    free = serve_batch(tight, memory, BATCH, catalog())
    assert held.batch_latency_s > free.batch_latency_s
    assert held.kv_peak_share <= 1


def test_p7_sequences_are_cut_and_never_grow():
    cut = adjust_sequence_length(1000, base_tokens=256)
    assert cut.count == 4
    assert cut.count * cut.tokens == pytest.approx(1000)
    assert adjust_sequence_length(1000, base_tokens=256, tuning=2).count == 2
    assert adjust_sequence_length(100, base_tokens=256).tokens == 100
    g, _ = group()
    task = tasks.prefill_task(tasks.stepping_of(g), 20_000, decodes=0)
    assert task.steps == -(-20_000 // g.limits.max_num_batched_tokens)


def test_p7_the_longest_sequence_follows_memory():
    unlimited = replace(plan().workload, max_context_tokens=None)
    small = replica(asked=plan(workload=unlimited), name="A10")
    assert small.limits.max_model_len <= small.memory.kv_capacity_tokens
    assert small.limits.max_model_len <= 4096  # the model's own limit


# --- P8: switches ---


def test_p8_h2o_changes_memory_and_time():
    asked = plan(switches=Switches(h2o_keep_share=0.25))
    whole, kept = replica(), replica(asked=asked)
    assert kept.group(1).switches.h2o_keep_share == 0.25
    assert kept.memory.kv_capacity_tokens == pytest.approx(
        4 * whole.memory.kv_capacity_tokens, rel=0.01
    )
    assert kept.saturation_per_s > whole.saturation_per_s
    reports = [serve_batch(r.group(1), r.memory, BATCH, catalog()) for r in (whole, kept)]
    assert reports[1].tpot_s < reports[0].tpot_s


def test_p8_flash_attention_changes_the_time_of_prompts_and_the_activations():
    without = replica(asked=plan(switches=Switches(flash_attention=False)))
    assert without.zero_load_ttft_s > replica().zero_load_ttft_s
    assert without.memory.activation_bytes > replica().memory.activation_bytes
    assert without.memory.kv_capacity_tokens < replica().memory.kv_capacity_tokens


def test_p8_quantisation_changes_memory_and_time():
    found = survey(
        Study(plan=plan(tolerance=Tolerance.FP8), catalog=catalog()),
        priced(cluster("H100-SXM"), catalog()),
    )
    by_kind = {
        (r.shape.variant.precision.name, r.shape.variant.kv_cache_dtype): r
        for r in found.replicas
        if r.shape.gpus == 1
    }
    plain = by_kind["fp16", "auto"]
    weights, cache = by_kind["fp8", "auto"], by_kind["fp16", "fp8"]
    assert weights.memory.weight_bytes < 0.6 * plain.memory.weight_bytes
    assert weights.zero_load_tpot_s < plain.zero_load_tpot_s
    assert cache.memory.kv_bytes_per_token == plain.memory.kv_bytes_per_token / 2
    assert cache.memory.weight_bytes == plain.memory.weight_bytes


# --- P10, P11: tasks and GPUs ---


def test_p10_tensor_parallel_members_share_a_task():
    one, two = group(1)[0], group(2)[0]
    prompts = (tasks.prefill_task(tasks.stepping_of(g), 512, 0) for g in (one, two))
    alone, shared = map(tasks.task_load, prompts, (one, two))
    assert shared.compute_flop == pytest.approx(alone.compute_flop / 2, rel=0.01)
    assert alone.transfer_bytes == 0
    assert shared.transfer_bytes > 0


def test_p11_each_roof_has_its_own_time():
    g, _ = group(2)
    task = tasks.decode_task(tasks.stepping_of(g), 8, 600, 64)
    load, time = tasks.task_load(task, g), tasks.task_time(task, g)
    assert time.memory_s == pytest.approx(load.data_bytes / g.gpu.hbm_bytes_per_s)
    assert time.transfer_s == pytest.approx(load.transfer_bytes / g.gpu.link.bytes_per_s)
    assert time.compute_s > 0
    cost = layout_cost(g, catalog())[0]
    assert tasks.task_seconds(task, cost) >= max(time.compute_s, time.memory_s)


@pytest.mark.parametrize("fact", ["hbm_bytes_per_s", "fp16_flop_per_s", "link"])
def test_p11_a_slower_part_makes_a_task_slower(fact: str):
    g, _ = group(2)
    gpu = g.gpu
    slow = (
        replace(gpu, link=replace(gpu.link, bytes_per_s=gpu.link.bytes_per_s / 4))
        if fact == "link"
        else replace(gpu, **{fact: getattr(gpu, fact) / 4})
    )
    worse = replace(g, pool=replace(g.pool, gpu=slow))

    def seconds(of: ReplicaGroup) -> float:
        cost, stepping = layout_cost(of, catalog())[0], tasks.stepping_of(of)
        both = tasks.prefill_task(stepping, 2048, 0), tasks.decode_task(stepping, 8, 600, 64)
        return sum(tasks.task_seconds(task, cost) for task in both)

    assert seconds(worse) > seconds(g)


# --- P12, P13: hybrid parallelism ---


def test_p12_configurations_use_no_more_than_the_free_gpus():
    pool = cluster(free=(4, 2)).pools[0]
    found = list(get_configurations(pool))
    assert {(c.tp, c.pp): c.dp for c in found} == {
        (1, 1): 6,
        (2, 1): 3,
        (4, 1): 1,
        (1, 2): 3,
        (2, 2): 1,
        (1, 4): 1,
    }  # the largest DP of each, since later ones overwrite
    assert all(c.gpus <= 6 for c in found)
    assert max(c.gpus for c in get_configurations(pool, max_gpus=3)) <= 3


def test_p12_a_data_parallel_group_waits_for_its_slowest_gpu():
    fast, slow = group(), None
    other = replica(name="A10")
    slow = (other.group(1, 0.5), other.memory)
    fast = (replace(fast[0], load_share=0.5), fast[1])
    mixed = simulate_hybrid_parallel([fast, slow], BATCH, catalog())
    times = [part.batch_latency_s for part in mixed.parts]
    assert times[1] > times[0]
    assert mixed.total_s == times[1]
    assert sum(part.requests for part in mixed.parts) == BATCH.requests


def test_p12_more_replicas_finish_a_batch_sooner_and_tp_pays_communication():
    by_dp = [simulate_hybrid_parallel([group(1, dp)], BATCH, catalog()).total_s for dp in (1, 2, 4)]
    assert all(later < earlier for earlier, later in pairwise(by_dp))
    g, memory = group(2)
    slow_link = replace(g.gpu, link=replace(g.gpu.link, bytes_per_s=1e9))
    worse = replace(g, pool=replace(g.pool, gpu=slow_link))
    assert (
        simulate_hybrid_parallel([(worse, memory)], BATCH, catalog()).total_s
        > simulate_hybrid_parallel([(g, memory)], BATCH, catalog()).total_s
    )


def test_p12_the_best_configuration_minimises_total_time_within_budget():
    study = Study(plan=plan(budget=Budget(max_gpus=4)), catalog=catalog())
    found = simulate_task_execution(study, cluster(), BATCH, places=1000)
    assert len(found) > 3
    times = [one.total_s for one in found]
    assert times == sorted(times)
    assert {(g.replicas, g.tp, g.pp) for one in found for g in one.groups} >= {
        (1, 1, 1),
        (2, 2, 1),
        (4, 1, 1),
        (1, 4, 1),
    }
    assert all(one.groups[0].gpus <= 4 for one in found)
    assert simulate_task_execution(study, cluster(), BATCH)[0] == found[0]


def test_p13_metrics_of_a_batch_belong_together():
    report = serve_batch(*group(), BATCH, catalog())
    assert 0 < report.ttft_s < report.batch_latency_s
    steps = report.output_tokens - 1
    assert report.ttft_s + report.tpot_s * steps == pytest.approx(report.batch_latency_s)
    assert report.decode_tokens_per_s == pytest.approx(BATCH.requests / report.tpot_s)
    assert report.output_tokens_per_s < report.decode_tokens_per_s


# --- P20: the knee ---


def test_p20_the_batch_limit_follows_the_task_and_the_hardware():
    def batch(share: float, name: str = "A100-80GB", prompt: float = 512) -> int:
        """The limit on one GPU where a token may take `share` of its time on an empty server."""
        limit = share * replica().zero_load_tpot_s
        lengths = Lengths(mean_tokens=prompt, p95_tokens=2 * prompt)
        workload, budget = replace(plan().workload, prompt=lengths), Budget(max_gpus=1)
        asked = plan(workload=workload, slo=Slo(tpot_p95_s=limit), budget=budget)
        found = recommend(asked, cluster(name, (1,)), catalog()).best
        return found.groups[0].group.limits.max_num_seqs if found is not None else 0

    shares = range(130, 250)
    tight = shares[bisect_left(shares, True, key=lambda share: batch(share / 100) > 0)] / 100
    assert batch(tight) < batch(1.5 * tight)
    assert batch(tight) < batch(tight, name="H100-SXM")
    assert batch(tight) < batch(tight, prompt=64)
