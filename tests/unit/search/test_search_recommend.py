"""The search on a toy engine whose answers can be worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from guide.domain import (
    Budget,
    Inventory,
    Lengths,
    Plan,
    Preference,
    Price,
    Reason,
    Recommendation,
    Slo,
    Tolerance,
)
from guide.search.asked import asked_of
from guide.search.evaluate import APART, load_share
from guide.search.operating_point import operate
from guide.search.pricing import billed_gpus, usd_per_h
from guide.search.promised import promised_context_tokens
from guide.search.recommend import recommend
from guide.search.relax import DIALS, Dial
from guide.search.space import shapes
from tests import toy


@pytest.fixture(autouse=True)
def _toy_engine(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    toy.install(monkeypatch)


def ask(plan: Plan, cluster: Inventory = toy.CLUSTER) -> Recommendation:
    return recommend(plan, cluster, toy.CATALOG)


def closed(users: int) -> Plan:
    workload = replace(toy.question().workload, requests_per_s=None, concurrency=users)
    return toy.question(workload=workload)


def test_cost_takes_the_cheapest_that_holds():
    found = ask(toy.question(slo=Slo(ttft_p95_s=0.5)))
    assert found.best is not None
    assert found.best.usd_per_h == min(e.usd_per_h for e in found.pareto if e.usd_per_h)
    assert found.best.usd_per_h == pytest.approx(3.0)


def test_alternatives_are_other_layouts_not_other_counts():
    found = ask(toy.question())
    assert found.best is not None
    layouts = {
        (g.pool.name, g.framework, g.tp, g.pp, g.precision.name)
        for e in (found.best, *found.alternatives)
        for g in e.candidate.groups
    }
    assert len(layouts) == 3


def test_replicas_are_as_few_as_the_load_needs():
    plan = toy.question(workload=replace(toy.question().workload, requests_per_s=40.0))
    best = ask(replace(plan, frameworks=("vLLM",), gpus=("Big",))).best
    assert best is not None
    item = best.groups[0]
    need = 40 / (item.max_requests_per_s * math.exp(-toy.RESIDUAL["throughput"]))
    assert item.group.replicas >= math.ceil(need)
    assert best.predicted.requests_per_s == pytest.approx(40)


def test_an_equal_price_prefers_full_precision():
    found = ask(toy.question(tolerance=Tolerance.INT4, slo=Slo(ttft_p95_s=0.5)))
    assert found.best is not None
    assert found.best.groups[0].group.precision.name == "bf16"


def test_no_service_level_has_a_say_in_the_batches_to_try():
    free, tight = _operated(Slo()), _operated(Slo(tpot_p95_s=0.010))
    assert (free.limits.max_num_seqs, free.smaller) == (tight.limits.max_num_seqs, tight.smaller)
    assert free.limits.max_num_seqs == 256
    assert 1 in free.smaller


def _operated(slo: Slo):
    plan = toy.question(slo=slo, frameworks=("vLLM",), gpus=("Big",))
    one = next(s for s in shapes(plan, toy.CLUSTER, toy.CATALOG) if s.tp == 2 and s.pp == 1)
    found = operate(one.anywhere, asked_of(plan), toy.CATALOG)
    assert not hasattr(found, "reason")
    return found


def test_context_is_stated_or_follows_from_lengths():
    workload = toy.question().workload
    assert promised_context_tokens(toy.question()) == 3700
    no_p95 = replace(workload, prompt=Lengths(mean_tokens=1000), output=Lengths(mean_tokens=200))
    assert promised_context_tokens(toy.question(workload=no_p95)) == 4800
    stated = replace(workload, max_context_tokens=9000)
    assert promised_context_tokens(toy.question(workload=stated)) == 9000


def test_unstated_context_is_what_the_cache_holds_in_whole_steps():
    limits = _operated(Slo()).limits
    assert limits.max_model_len == 131072
    plan = toy.question(frameworks=("vLLM",), gpus=("Small",))
    one = next(s for s in shapes(plan, toy.CLUSTER, toy.CATALOG) if s.tp == 1)
    small = operate(one.anywhere, asked_of(plan), toy.CATALOG)
    assert small.limits.max_model_len % 1024 == 0  # pyright: ignore[reportAttributeAccessIssue]
    assert small.limits.max_model_len <= small.memory.kv_capacity_tokens  # pyright: ignore[reportAttributeAccessIssue]


def test_a_context_that_does_not_fit_says_so_and_offers_no_service_level():
    workload = replace(toy.question().workload, max_context_tokens=120_000, requests_per_s=0.5)
    slo = Slo(ttft_p95_s=2.0, tpot_p95_s=1.0, e2e_p95_s=100.0)
    plan = toy.question(workload=workload, gpus=("Small",), slo=slo, frameworks=("vLLM",))
    tiny = Inventory(pools=(toy.pool("small", toy.SMALL, (1, 1), 1),))
    found = ask(plan, tiny)
    assert not found.feasible
    assert {r.reason for r in found.rejections} == {Reason.DOES_NOT_FIT, Reason.SPANS_NODES}
    assert [r.field for r in found.relaxations] == ["spec.workload.maxContextTokens"]
    assert any("memory is the cause" in note for note in found.notes)


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        (toy.question(slo=Slo(ttft_p95_s=0.005)), "spec.slo.ttftP95Milliseconds"),
        (toy.question(slo=Slo(tpot_p95_s=0.003)), "spec.slo.tpotP95Milliseconds"),
        (toy.question(slo=Slo(e2e_p95_s=0.5)), "spec.slo.e2eP95Milliseconds"),
        (
            toy.question(slo=Slo(min_output_tokens_per_s=1e6)),
            "spec.slo.minOutputTokensPerSecond",
        ),
        (toy.question(budget=Budget(max_usd_per_h=0.5)), "spec.budget.maxHourlyUSD"),
        (toy.question(budget=Budget(max_gpus=1), gpus=("Small",)), "spec.budget.maxGPUs"),
        (
            toy.question(workload=replace(toy.question().workload, requests_per_s=5000.0)),
            "spec.workload.requestsPerSecond",
        ),
    ],
)
def test_a_relaxation_works_and_one_step_less_does_not(plan: Plan, field: str):
    found = ask(plan)
    assert not found.feasible
    (offer,) = [r for r in found.relaxations if r.field == field]
    assert ask(_with(plan, field, offer.needed)).feasible
    dial = _dial(field)
    less = math.ceil(max(1, 0.02 * offer.needed / dial.step)) * dial.step
    assert less <= abs(offer.needed - offer.current)
    tighter = offer.needed + math.copysign(less, offer.current - offer.needed)
    assert not ask(_with(plan, field, tighter)).feasible


def _dial(field: str) -> Dial:
    return next(dial for dial in DIALS if dial.field == field)


def _with(plan: Plan, field: str, value: float) -> Plan:
    return _dial(field).turned(plan, value)


def test_contradictions_are_named():
    assert "below the cheapest" in ask(toy.question(budget=Budget(max_usd_per_h=0.5))).notes[0]
    assert (
        "placement.gpus allows Big"
        in ask(toy.question(gpus=("Big",)), Inventory(pools=(toy.CLUSTER.pools[1],))).notes[0]
    )
    nothing = ask(toy.question(), Inventory(pools=()))
    assert not nothing.feasible
    assert nothing.candidates == 0
    assert "no node with GPUs" in nothing.notes[0]


def test_an_unknown_product_is_refused_as_a_pool():
    cluster = Inventory(pools=(*toy.CLUSTER.pools, toy.pool("odd", None, (8,))))
    odd = [r for r in ask(toy.question(), cluster).rejections if r.pool == "odd"]
    assert [(r.reason, r.candidate) for r in odd] == [(Reason.UNKNOWN_GPU, None)]


def test_whole_instances_are_billed():
    by_eight = toy.pool(
        "big", toy.BIG, (8, 8), price=Price(usd_per_gpu_h=3.0, billed_gpus=8, source="s", as_of="d")
    )
    assert [billed_gpus(by_eight, 1, n) for n in (1, 8, 9)] == [8, 8, 16]
    assert [billed_gpus(by_eight, 3, n) for n in (1, 2, 3)] == [8, 8, 16]
    assert usd_per_h(by_eight, 1, 1) == pytest.approx(24.0)


def test_pools_without_a_price_rank_last_by_cost():
    gpu = replace(toy.BIG, name="Unpriced")
    cluster = Inventory(pools=(toy.pool("free", gpu, (8,)), toy.CLUSTER.pools[0]))
    found = ask(toy.question(), cluster)
    assert found.best is not None
    assert found.best.groups[0].group.pool.name == "big"


def test_closed_loop_splits_users_and_wastes_no_replica():
    found = ask(replace(closed(3), preference=Preference.THROUGHPUT))
    assert found.best is not None
    assert sum(g.replicas for g in found.best.candidate.groups) <= 3
    assert load_share(closed(10).workload, 4).concurrency == 3


def test_a_random_split_of_bursts_tends_to_poisson():
    bursty = replace(toy.question().workload, arrival_cv=3.0)
    share = load_share(bursty, 4)
    assert share.requests_per_s == pytest.approx(2.0, rel=math.sqrt(APART) - 1)
    assert share.arrival_cv == pytest.approx(math.sqrt(9 / 4 + 3 / 4))


@pytest.mark.parametrize(
    ("plan", "fields"),
    [
        (
            toy.question(slo=Slo(ttft_p95_s=0.005, tpot_p95_s=0.003)),
            ["spec.slo.ttftP95Milliseconds", "spec.slo.tpotP95Milliseconds"],
        ),
        (
            toy.question(slo=Slo(ttft_p95_s=0.005), budget=Budget(max_usd_per_h=0.5)),
            ["spec.slo.ttftP95Milliseconds", "spec.budget.maxHourlyUSD"],
        ),
    ],
)
def test_limits_that_bind_together_are_relaxed_together(plan: Plan, fields: list[str]):
    found = ask(plan)
    assert found.relaxations == ()
    assert [offer.field for offer in found.combined] == fields
    for offer in found.combined:
        assert not ask(_with(plan, offer.field, offer.needed)).feasible
    together = plan
    for offer in found.combined:
        together = _with(together, offer.field, offer.needed)
    assert ask(together).feasible


def test_a_precision_that_no_gpu_runs_is_named():
    old = replace(toy.BIG, name="Old", compute_capability=(7, 0), fp8_flop_per_s=None)
    cluster = Inventory(pools=(toy.pool("old", old, (8,)),))
    plan = toy.question(model=replace(toy.MODEL, precision="fp8"))
    found = ask(plan, cluster)
    assert not found.feasible
    assert any(
        "precisionTolerance Lossless leaves toy/8b no precision that runs on pool old" in note
        for note in found.notes
    )
    assert not any("no precision" in note for note in ask(plan).notes)


def test_context_tiers_tell_what_each_number_of_gpus_holds():
    tiers = ask(toy.question(gpus=("Small",))).context_tiers
    assert [tier.gpus for tier in tiers] == [1, 2, 4]
    assert [tier.tokens for tier in tiers] == sorted(tier.tokens for tier in tiers)
    assert tiers[0].tokens < tiers[1].tokens <= toy.MODEL.max_context_tokens
    longer = replace(toy.question().workload, max_context_tokens=tiers[0].tokens + 1024)
    one_gpu = Inventory(pools=(toy.pool("small", toy.SMALL, (1, 1), 1),))
    held = replace(longer, max_context_tokens=tiers[0].tokens, requests_per_s=0.1)
    assert ask(toy.question(workload=held), one_gpu).feasible
    assert not ask(toy.question(workload=replace(longer, requests_per_s=0.1)), one_gpu).feasible


def test_work_grows_with_kinds_of_pools_not_with_nodes(monkeypatch: pytest.MonkeyPatch):
    calls: list[int] = []

    def counted(*args: object, **other: object) -> object:
        calls.append(1)
        return toy.serve(*args, **other)  # pyright: ignore

    monkeypatch.setattr("guide.search.evaluate.serve", counted)
    simulated: list[int] = []
    for nodes in (10, 10_000):
        pools = (
            toy.pool("big", toy.BIG, (8,) * (nodes // 2)),
            toy.pool("small", toy.SMALL, (4,) * (nodes // 2), 4),
        )
        found = ask(toy.question(tolerance=Tolerance.FP8), Inventory(pools=pools))
        assert found.best is not None
        simulated.append(len(calls))
        calls.clear()
    assert simulated[1] <= 2 * simulated[0]
