"""What an infeasible answer offers, and what it says about its cause."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guide.domain import Inventory, Plan, Recommendation, Slo, Tolerance
from guide.report import tables
from guide.search.recommend import recommend
from guide.search.relax import DIALS
from tests import toy

WORKLOAD = toy.question().workload
VAIN = "relaxing a service level would not help"


@pytest.fixture(autouse=True)
def _toy_engine(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    toy.install(monkeypatch)


def ask(plan: Plan, cluster: Inventory = toy.CLUSTER) -> Recommendation:
    return recommend(plan, cluster, toy.CATALOG)


def small(*free: int, per_node: int = 1) -> Inventory:
    return Inventory(pools=(toy.pool("small", toy.SMALL, free, per_node),))


def about(found: Recommendation) -> str:
    return "; ".join(found.notes)


def test_limits_are_relaxed_before_the_load():
    """Both latencies are out of reach at any load, so the load has no part in it."""
    plan = toy.question(slo=Slo(ttft_p95_s=0.005, tpot_p95_s=0.003, e2e_p95_s=0.2))
    found = ask(plan)
    fields = [offer.field for offer in found.combined]
    assert "spec.slo.ttftP95Milliseconds" in fields
    assert "spec.workload.requestsPerSecond" not in fields


def test_changes_that_keep_the_load_stand_beside_one_that_does_not():
    """A tenth of the load would keep the limits: so would two relaxed limits, with all of it."""
    load = replace(WORKLOAD, requests_per_s=60.0)
    cluster = small(4, per_node=4)
    free = ask(toy.question(workload=load), cluster)
    assert not free.feasible  # too much in any case
    plan = toy.question(workload=replace(WORKLOAD, requests_per_s=1.0), slo=Slo(e2e_p95_s=0.1))
    offers = ask(plan, cluster)
    assert all(offer.field != "spec.workload.requestsPerSecond" for offer in offers.relaxations)


def test_no_note_contradicts_an_offer():
    found = ask(toy.question(slo=Slo(tpot_p95_s=0.003)))
    assert "spec.slo.tpotP95Milliseconds" in [offer.field for offer in found.relaxations]
    assert VAIN not in about(found)


def test_many_free_gpus_are_not_too_few():
    """A model that no node holds: the note says so, and names what would carry it."""
    large = replace(toy.DECODER, name="toy/300b", layers=480, hidden=8192, heads=64, ffn=28672)
    cluster = Inventory(pools=(toy.pool("big", toy.BIG, (8,) * 25),))
    found = ask(toy.question(model=large.arch()), cluster)
    assert not found.feasible
    assert "memory is the cause" in about(found)
    assert "too few GPUs" not in about(found)
    assert "as LeaderWorkerSets" in about(found)


def test_too_few_gpus_are_named_where_more_of_them_would_do():
    plan = toy.question(workload=replace(WORKLOAD, requests_per_s=500.0), slo=Slo(ttft_p95_s=2.0))
    found = ask(plan)
    assert "too few GPUs are free" in about(found)
    assert VAIN in about(found)


def test_a_context_beyond_the_model_is_no_question_of_memory():
    workload = replace(WORKLOAD, max_context_tokens=200_000)
    found = ask(toy.question(workload=workload))
    assert not found.feasible
    assert "the context is the cause: 200,000 tokens are beyond the 131,072" in about(found)
    assert "memory is the cause" not in about(found)


def test_a_tolerance_that_would_do_is_named():
    load = replace(WORKLOAD, requests_per_s=0.1)
    plan = toy.question(workload=load, slo=Slo(tpot_p95_s=0.0072))
    cluster = Inventory(pools=(toy.pool("big", toy.BIG, (1,)),))
    assert not ask(plan, cluster).feasible
    assert "spec.precisionTolerance FP8 would make it feasible" in about(ask(plan, cluster))
    assert ask(replace(plan, tolerance=Tolerance.FP8), cluster).feasible


def test_an_answer_that_needs_an_image_says_so():
    plan = toy.question(frameworks=("FastGen",), unready=("FastGen",))
    found = ask(plan)
    assert found.feasible
    assert "spec.deployment.imageFastGen" in found.notes[0]
    assert "imageFastGen" not in about(ask(toy.question(unready=("FastGen",))))


def test_candidates_that_cannot_be_deployed_are_one_line():
    found = ask(toy.question(unready=("FastGen",)))
    rows = tables.rejections(found).rows
    folded = [row for row in rows if row[0] == "no image"]
    assert len(folded) == 1
    assert folded[0][2] == "FastGen"
    assert not any("FastGen" in row[2] for row in rows if row not in folded)
    assert sum(int(row[1]) for row in rows) == len(found.rejections)
    every = ask(toy.question(frameworks=("FastGen",), unready=("FastGen",)))
    assert not any(row[0] == "no image" for row in tables.rejections(every).rows)


def test_offers_are_applied_as_they_stand():
    for plan in (
        toy.question(slo=Slo(ttft_p95_s=0.005, tpot_p95_s=0.003)),
        toy.question(slo=Slo(tpot_p95_s=0.003)),
    ):
        found = ask(plan)
        for offer in found.relaxations:
            dial = next(d for d in DIALS if d.field == offer.field)
            assert ask(dial.turned(plan, offer.needed)).feasible


def test_what_to_add_is_the_cheapest_that_works():
    """Small nodes cannot keep this TPOT; one that is sold can, and the offer, followed, works."""
    plan = toy.question(workload=replace(WORKLOAD, requests_per_s=2.0), slo=Slo(tpot_p95_s=0.012))
    found = ask(plan, small(4, per_node=4))
    assert not found.feasible
    (one,) = found.additions
    assert (one.gpu, one.gpus_per_node, one.nodes) == ("Big", 8, 1)
    assert one.usd_per_h == pytest.approx(8 * 3.0)
    assert one.max_requests_per_s >= 2.0
    added = toy.pool("added", toy.BIG, (8,))
    grown = Inventory(pools=(*small(4, per_node=4).pools, added))
    assert ask(plan, grown).feasible
    most = replace(WORKLOAD, requests_per_s=0.99 * one.max_requests_per_s)
    assert ask(replace(plan, workload=most), grown).feasible


def test_no_gpu_that_would_do_is_a_proof_with_the_nearest():
    found = ask(toy.question(slo=Slo(tpot_p95_s=0.0005)))
    assert found.additions == ()
    assert "no GPU of the catalogue would do as one or two nodes more" in about(found)
    assert "p95 TPOT may reach" in about(found)


def test_placement_limits_what_is_added():
    plan = toy.question(slo=Slo(tpot_p95_s=0.02), gpus=("Small",))
    found = ask(plan)
    assert {one.gpu for one in found.additions} <= {"Small"}


def test_headroom_is_where_the_next_load_breaks_a_limit():
    plan = toy.question(slo=Slo(ttft_p95_s=0.5), frameworks=("vLLM",))
    found = ask(plan)
    assert found.best is not None
    more = found.best.headroom
    assert more is not None
    assert 0 <= more < 3
    assert any(note.startswith("limits hold up to") for note in found.notes) == (more >= 0.08)


def test_running_at_the_edge_is_a_warning():
    """A load just below what the deployment carries."""
    plan = toy.question(frameworks=("vLLM",), gpus=("Big",), tolerance=Tolerance.LOSSLESS)
    cluster = Inventory(pools=(toy.pool("big", toy.BIG, (1,), 1),))
    best = ask(plan, cluster).best
    assert best is not None
    assert best.headroom is not None
    full = replace(WORKLOAD, requests_per_s=8.0 * (1 + best.headroom) * 0.98)
    found = ask(replace(plan, workload=full), cluster)
    assert found.feasible
    assert found.notes[0].startswith("it runs at its edge")
