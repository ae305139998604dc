"""max-num-batched-tokens is a knob: turned where a limit or a preference asks for it, and said."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.domain import (
    Billing,
    Budget,
    Evaluation,
    Inventory,
    Lengths,
    Plan,
    Preference,
    Recommendation,
    Slo,
    Workload,
)
from guide.frameworks import FRAMEWORKS
from guide.frameworks.base import DeploymentOptions
from guide.search.evaluate import Member, Study, evaluate
from guide.search.explore import survey
from guide.search.knobs import settled
from guide.search.operating_point import Replica, with_chunk
from guide.search.recommend import recommend
from guide.web.nodes import imagined
from guide.web.state import PoolRow

CATALOG = load()
OWN = 2048  # of vLLM on an L40S


@cache
def cluster() -> Inventory:
    rows = [PoolRow(gpu="L40S", nodes="1", per="8")]
    return read_inventory(imagined(rows, CATALOG), [], CATALOG)


NO_LIMITS = Slo()


def plan(slo: Slo = NO_LIMITS, prompt: int = 1000, rate: float = 8.0, **changes: object) -> Plan:
    load_ = Workload(
        prompt=Lengths(mean_tokens=prompt), output=Lengths(mean_tokens=200), requests_per_s=rate
    )
    asked = Plan(
        model=CATALOG.models["meta-llama/Llama-3.1-8B-Instruct"],
        workload=load_,
        slo=slo,
        frameworks=("vLLM",),
    )
    return replace(asked, **changes)  # pyright: ignore[reportArgumentType]


def ask(asked: Plan) -> Recommendation:
    return recommend(asked, cluster(), CATALOG)


def replica(asked: Plan, tp: int = 1) -> Replica:
    found = survey(Study(plan=asked, catalog=CATALOG), cluster()).replicas
    return next(r for r in found if (r.shape.tp, r.shape.pp) == (tp, 1))


def under(asked: Plan, tokens: int, replicas: int = 2) -> Evaluation:
    one = with_chunk(replica(asked), tokens, asked, CATALOG)
    assert one is not None
    study = Study(plan=asked, catalog=CATALOG)
    return evaluate((Member(replica=one, replicas=replicas),), study)


def chunk_of(found: Recommendation) -> int:
    assert found.best is not None
    return found.best.groups[0].group.limits.max_num_batched_tokens


def test_smaller_chunks_trade_first_tokens_for_the_gaps_between():
    smaller, own = under(plan(), 512).predicted, under(plan(), OWN).predicted
    assert smaller.tpot.p95_s < 0.95 * own.tpot.p95_s
    assert smaller.ttft.p95_s > 1.1 * own.ttft.p95_s


def test_a_limit_on_the_gaps_is_kept_by_smaller_chunks_instead_of_more_replicas():
    limit_s = 0.96 * under(plan(), OWN, 3).predicted.tpot_interval.upper
    asked = plan(Slo(ttft_p95_s=1.5, tpot_p95_s=limit_s))
    study = Study(plan=asked, catalog=CATALOG)
    one = replace(replica(asked), smaller=())  # the batch alone would do, less well
    found, broken = settled(one, 3, study)
    assert broken is None
    assert found.groups[0].group.limits.max_num_batched_tokens < OWN
    assert settled(replace(one, chunks=()), 3, study)[1] is not None


def test_the_answer_says_why_and_the_manifest_writes_it():
    # where a whole node is billed, more replicas do instead
    budget = Budget(billing=Billing.FREE_GPUS)
    found = ask(plan(Slo(ttft_p95_s=1.5, tpot_p95_s=0.055), budget=budget))
    assert chunk_of(found) < OWN
    assert found.best is not None
    group = found.best.groups[0].group
    (said,) = [note for note in found.notes if "max-num-batched-tokens" in note]
    assert f"{chunk_of(found):,} tokens instead of its own {OWN:,}" in said
    launch = FRAMEWORKS["vLLM"].launch(group, DeploymentOptions(served_name="m"))
    assert f"--max-num-batched-tokens={chunk_of(found)}" in launch.args


def test_without_a_limit_or_a_preference_the_frameworks_own_stands():
    found = ask(plan())
    assert chunk_of(found) == OWN
    assert not [note for note in found.notes if "max-num-batched-tokens" in note]


def test_latency_takes_the_chunk_that_ends_answers_first():
    asked = plan(prompt=3000, rate=4.0, preference=Preference.LATENCY)
    found = ask(asked)
    assert found.best is not None
    group = found.best.groups[0].group
    one = next(
        r
        for r in survey(Study(plan=asked, catalog=CATALOG), cluster()).replicas
        if r.shape.key == group.key
    )
    study = Study(plan=asked, catalog=CATALOG)
    for tokens in (OWN, *one.chunks):
        other = with_chunk(one, tokens, asked, CATALOG)
        assert other is not None
        e2e = evaluate((Member(replica=other, replicas=group.replicas),), study).predicted
        assert found.best.predicted.e2e_interval.upper <= 1.02 * e2e.e2e_interval.upper


def test_vllm_starts_with_every_chunk_that_is_tried():
    """It refuses a budget below max-num-seqs, and a cache that holds no longest request."""
    for tp in (1, 4):
        one = replica(plan(), tp)
        assert one.chunks
        for tokens in one.chunks:
            found = with_chunk(one, tokens, plan(), CATALOG)
            assert found is not None
            assert found.limits.max_num_batched_tokens >= found.limits.max_num_seqs
            longest = found.limits.max_model_len
            assert found.memory.longest_request(longest) >= longest


@pytest.mark.parametrize("scale", [1.05, 1.5])
@settings(max_examples=12)
@given(
    st.sampled_from([500, 1000, 3000]),
    st.floats(0.5, 1.2),
    st.floats(0.5, 2.0),
    st.sampled_from(["ttft_p95_s", "tpot_p95_s", "e2e_p95_s"]),
)
def test_a_looser_limit_never_costs_an_answer(
    scale: float, prompt: int, tpot: float, ttft: float, loosened: str
):
    base = plan(prompt=prompt, rate=4.0)
    p = under(base, OWN).predicted
    slo = Slo(
        ttft_p95_s=ttft * p.ttft_interval.upper,
        tpot_p95_s=tpot * p.tpot_interval.upper,
        e2e_p95_s=1.1 * p.e2e_interval.upper,
    )
    tight = replace(base, slo=slo)
    wider = {loosened: scale * getattr(slo, loosened)}
    loose = replace(base, slo=replace(slo, **wider))
    study = Study(plan=tight, catalog=CATALOG)
    one = replica(base)
    if settled(one, 2, study)[1] is None:
        assert settled(one, 2, study.under(loose))[1] is None
