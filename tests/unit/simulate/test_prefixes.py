"""Prefixes that groups of prompts share, behind three routers."""

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
    Prefixes,
    ReplicaGroup,
    Router,
    ServingReport,
    Workload,
)
from guide.models.precision import own_precision
from guide.perf.memory import memory_fit
from guide.search.evaluate import load_share
from guide.search.space import modelled_release
from guide.simulate.arrivals import requests_of
from guide.simulate.prefix_cache import PrefixCache
from guide.simulate.runs import Runs
from guide.simulate.serve import run, serve
from guide.simulate.sessions import Sessions, dealt

CATALOG = load()
VLLM = modelled_release(CATALOG, "vLLM")
RUNS = Runs()
# the layout of a public comparison is not told in full: 8 B parameters on four GPUs of 80 GB, whose
# caches hold 70 prefixes each beside what runs, and all 150 together
PUBLIC = Prefixes(groups=150, shared_tokens=6000)
SATURATED = Workload(
    prompt=Lengths(mean_tokens=6300),
    output=Lengths(mean_tokens=128),
    concurrency=256,
    prefixes=PUBLIC,
)


def layout(framework: str = "vLLM") -> ReplicaGroup:
    arch, release = (
        CATALOG.models["meta-llama/Llama-3.1-8B-Instruct"],
        modelled_release(CATALOG, framework),
    )
    pool = GpuPool(
        name="h100",
        gpu=CATALOG.gpus["H100-SXM"],
        product="NVIDIA-H100-80GB-HBM3",
        source="gfd",
        resource="nvidia.com/gpu",
        gpus_per_node=8,
        free_gpus_by_node=(8,),
    )
    limits = Limits(
        max_num_seqs=256,
        max_num_batched_tokens=8192,
        gpu_memory_utilization=0.92,
        max_model_len=16384,
    )
    return ReplicaGroup(
        pool=pool,
        framework=framework,
        version=release.version,
        model=arch,
        precision=own_precision(arch),
        tp=1,
        pp=1,
        replicas=1,
        limits=limits,
    )


GROUP = layout()
MEMORY = memory_fit(GROUP, VLLM, GROUP.switches)


def of_memory(share: float) -> MemoryFit:
    return replace(MEMORY, kv_capacity_tokens=int(MEMORY.kv_capacity_tokens * share))


def behind(
    router: Router, replicas: int, asked: Workload = SATURATED, memory: MemoryFit = MEMORY
) -> tuple[ServingReport, float]:
    """The busiest replica, and output tokens/s of all in a closed loop."""
    assert asked.prefixes is not None
    load_ = replace(asked, prefixes=replace(asked.prefixes, router=router))
    share = load_share(load_, replicas)
    report = serve(GROUP, memory, share, CATALOG, seed=0, runs=RUNS)
    users = asked.concurrency or 1
    return report, report.output_tokens_per_s * users / (share.concurrency or 1)


def hits(report: ServingReport) -> float:
    assert report.hit_share is not None
    return report.hit_share


def test_affinity_doubles_the_output_at_saturation_where_a_replica_holds_only_its_share():
    """A public comparison of routers saw 2.1 x the output for affinity against round robin, with
    150 groups of 6,000 shared tokens.

    It does not tell all of its setting. 4 replicas, answers of 128 tokens and 256 users are chosen
    here; over twelve settings of such the factor was 1.1 to 2.6. So this holds the mechanism and
    its order, not a measurement: where the groups overflow one cache and fit into four, and
    prompts are most of the work, affinity about doubles the output.
    """
    held = MEMORY.held_tokens(6428)
    assert 150 / 4 * 6000 < held < 150 * 6000
    robin, apart = behind(Router.ROUND_ROBIN, 4), behind(Router.SESSION_AFFINITY, 4)
    assert 0.3 < hits(robin[0]) < 0.6
    assert hits(apart[0]) > 0.9
    assert 1.6 < apart[1] / robin[1] < 2.6
    assert apart[0].ttft.p95_s < robin[0].ttft.p95_s
    aware = behind(Router.PREFIX_AWARE, 4)
    assert aware[1] > apart[1]  # a hash leaves one replica more groups than the others


def test_one_replica_needs_no_router():
    assert len({behind(router, 1)[0] for router in Router}) == 1


def test_nobody_finds_more_than_was_said_before():
    for turns in (1, 4):
        prefixes = Prefixes(groups=12, shared_tokens=2000, turns=turns)
        asked = replace(SATURATED, prompt=Lengths(mean_tokens=4000), prefixes=prefixes)
        requests = replace(requests_of(asked, 300, 0, 16384), arrivals=[0.0] * 300)
        replica, _ = run(GROUP, MEMORY, requests, CATALOG)
        cache, sessions = replica.prefixes, requests.sessions
        assert cache is not None
        assert sessions is not None
        assert len(cache.found) == 300
        assert any(cache.found.values())
        for request, found in cache.found.items():
            bound = min(2000 + sessions.seen[request], requests.prompts[request] - 1)
            assert 0 <= found <= bound


def test_a_cache_that_holds_all_finds_what_the_plan_promises():
    """Lengths differ between conversations, and not from turn to turn within one."""
    for turns in (1, 5):
        prefixes = Prefixes(groups=20, shared_tokens=500, turns=turns)
        few = replace(
            SATURATED, prompt=Lengths(mean_tokens=2500), prefixes=prefixes, concurrency=16
        )
        report = serve(GROUP, MEMORY, few, CATALOG, seed=0)
        most = prefixes.most_hit_share(2500, 128)
        assert 0.93 * most < hits(report) < 1.02 * most


def test_attention_ranks_have_a_cache_each():
    """One pool of blocks, in which each rank keeps its own copy of a prefix."""
    two = requests_of(SATURATED, 400, 0, 16384, ranks=2)
    one = requests_of(SATURATED, 400, 0, 16384)
    assert one.sessions is not None
    assert two.sessions is not None
    assert two.prompts == one.prompts
    assert 150 < len({*two.sessions.group}) <= 300
    assert {*one.sessions.group} <= set(range(150))
    found = [
        run(GROUP, MEMORY, replace(requests, arrivals=[0.0] * 400), CATALOG)[0]
        for requests in (one, two)
    ]
    hits = [sum(one.prefixes.found.values()) for one in found if one.prefixes is not None]
    assert hits[0] > 1.2 * hits[1] > 0


def test_where_all_fits_round_robin_is_as_good_and_better_spread():
    few = replace(SATURATED, prefixes=replace(PUBLIC, groups=20))
    robin, apart = behind(Router.ROUND_ROBIN, 4, few), behind(Router.SESSION_AFFINITY, 4, few)
    assert hits(robin[0]) > 0.9
    assert robin[1] > apart[1]


@settings(max_examples=6, deadline=None)
@given(
    groups=st.sampled_from([8, 60, 400]),
    turns=st.sampled_from([1, 4]),
    replicas=st.sampled_from([2, 5]),
)
def test_hits_rise_with_the_cache_and_with_affinity(groups: int, turns: int, replicas: int):
    prefixes = Prefixes(groups=groups, shared_tokens=1500, turns=turns)
    asked = replace(
        SATURATED,
        prompt=Lengths(mean_tokens=3000, p95_tokens=3000),
        output=Lengths(mean_tokens=64, p95_tokens=64),
        concurrency=16 * replicas,
        prefixes=prefixes,
    )
    most = prefixes.most_hit_share(3000, 64)
    found = [
        [hits(behind(router, replicas, asked, of_memory(share))[0]) for router in Router]
        for share in (0.2, 1.0)
    ]
    for robin, apart, aware in found:
        assert 0 <= robin <= apart + 0.02
        assert apart <= aware + 0.02 <= most + 0.04
    for less, more in zip(*found, strict=True):
        assert less <= more + 0.02


def test_what_is_drawn_has_the_asked_lengths_and_turns():
    for turns in (1, 5):
        prefixes = Prefixes(groups=40, shared_tokens=1000, turns=turns)
        asked = replace(SATURATED, prompt=Lengths(mean_tokens=3000), prefixes=prefixes)
        requests = requests_of(asked, 2000, 0, 100_000)
        assert requests.sessions is not None
        assert sum(requests.prompts) / 2000 == pytest.approx(3000, rel=0.03)
        assert min(requests.prompts) > 1000
        seen = requests.sessions.seen
        all_seen = (1000 * 2000 + sum(seen)) / sum(requests.prompts)
        assert all_seen == pytest.approx(prefixes.most_hit_share(3000, 128), rel=0.03)
        elsewhere = replace(asked, prefixes=replace(prefixes, seen=0.25))
        thinned = requests_of(elsewhere, 2000, 0, 100_000).sessions
        assert thinned is not None
        assert sum(thinned.seen) <= sum(seen)
        assert bool(sum(seen)) == (turns > 1)


def test_a_hash_leaves_some_more_than_others():
    mine, times = dealt(replace(PUBLIC, router=Router.SESSION_AFFINITY), 4)
    assert 150 / 4 < mine.groups < 60
    assert 1.05 < times < 1.6
    lonely, hot = dealt(Prefixes(groups=1, shared_tokens=9, router=Router.SESSION_AFFINITY), 8)
    assert (lonely.groups, hot) == (1, 8)
    even, same = dealt(Prefixes(groups=2, shared_tokens=9, router=Router.PREFIX_AWARE), 8)
    assert (even.groups, even.seen, same) == (1, 1, 1)


def test_blocks_are_neither_lost_nor_made():
    """Under pressure, with preemptions: at the end all blocks are free, and no more idle."""
    for framework in ("vLLM", "SGLang"):
        group = layout(framework)
        memory = memory_fit(group, modelled_release(CATALOG, framework), group.switches)
        tight = replace(memory, kv_capacity_tokens=memory.kv_capacity_tokens // 12)
        for turns in (1, 3):
            prefixes = Prefixes(groups=12, shared_tokens=2000, turns=turns)
            asked = replace(
                SATURATED,
                prompt=Lengths(mean_tokens=4000),
                output=Lengths(mean_tokens=600),
                prefixes=prefixes,
            )
            requests = replace(requests_of(asked, 300, 0, 16384), arrivals=[0.0] * 300)
            replica, _ = run(group, tight, requests, CATALOG)
            cache = replica.prefixes
            assert cache is not None
            assert replica.evicted
            assert replica.free_blocks == replica.policy.kv_blocks
            assert cache.idle_blocks == sum(cache.idle.values()) <= replica.free_blocks
            assert [*cache.lent, *cache.ready, *cache.orphans] == []
            assert cache.owners.total() == cache.riders.total() == 0
            assert max(replica.finish_s) < float("inf")


def test_the_oldest_goes_first_and_from_its_end():
    sessions = Sessions(
        shared_tokens=32,
        group=[0, 1, 2, 0],
        chain=[-1, -2, -3, -1],
        seen=[0, 0, 0, 16],
        before=[(0, -1, 16), (1, -2, 0)],
    )
    cache = PrefixCache(sessions, block_tokens=16, kv_blocks=5)
    assert [cache.hit(r) for r in range(4)] == [32, 32, 0, 48]
    assert cache.fit(4)
    assert cache.hit(3) == 32  # the answer went before the prefix
    assert cache.fit(3)
    assert (cache.hit(0), cache.hit(1)) == (16, 32)
    cache.admit(1, cache.lends(1))
    cache.holds(1, 3)
    assert cache.lends(1) == 2
    assert cache.leave(1, 3) == 3
    assert not cache.fit(4)


def test_a_release_without_a_prefix_cache_finds_nothing():
    group = layout("FastGen")
    memory = memory_fit(group, modelled_release(CATALOG, "FastGen"), group.switches)
    alone = replace(SATURATED, concurrency=4)
    report = serve(group, memory, alone, CATALOG, seed=0)
    assert report.hit_share == 0
