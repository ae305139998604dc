"""Every reason and every offer beside an infeasible answer is compared with a run of the engine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from guide.domain import Addition, Budget, Inventory, Plan, Preference, Slo, Tolerance
from guide.search.causes import with_more_memory, with_more_nodes
from guide.search.headroom import times_loaded
from guide.search.relax import DIALS, LOADS
from tests import toy
from tests.toy_questions import ask, clusters, plans

SETTINGS = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
VAIN = "relaxing a service level would not help"


@pytest.fixture(autouse=True)
def _toy_engine(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    toy.install(monkeypatch)


def holds(sentence: str, plan: Plan, cluster: Inventory) -> bool:
    """What a sentence says, tried."""
    free = replace(plan, slo=Slo())
    if VAIN in sentence and ask(free, cluster).feasible:
        return False
    match sentence.split(":")[0].split(";")[0]:
        case "the budget is the cause":
            unpaid = replace(free, budget=Budget(billing=plan.budget.billing))
            return ask(unpaid, cluster).feasible
        case "too few GPUs are free":
            return ask(free, with_more_nodes(cluster)).feasible
        case "memory is the cause":
            return ask(free, with_more_memory(cluster)).feasible
        case "replicas over several nodes would make it feasible (TP":
            return ask(replace(plan, over_nodes=True), cluster).feasible
        case other if other.startswith("spec.precisionTolerance") and other.endswith("feasible"):
            tolerance = Tolerance(other.split()[1])
            return ask(replace(plan, tolerance=tolerance), cluster).feasible
        case _:
            return True


@SETTINGS
@given(plans, clusters)
def test_each_sentence_about_a_cause_is_true(plan: Plan, cluster: Inventory):
    for note in ask(plan, cluster).notes:
        assert holds(note, plan, cluster), note


@SETTINGS
@given(plans, clusters)
def test_what_is_feasible_does_not_depend_on_the_preference(plan: Plan, cluster: Inventory):
    answers = {ask(replace(plan, preference=p), cluster).feasible for p in Preference}
    assert len(answers) == 1


@SETTINGS
@given(plans, clusters)
def test_changes_together_cut_the_load_only_where_nothing_else_helps(
    plan: Plan, cluster: Inventory
):
    together = ask(plan, cluster).combined
    cut = [offer for offer in together if offer.field in LOADS]
    if not cut:
        return
    free = plan
    for dial in DIALS:
        if dial.field not in LOADS and dial.current(free) is not None:
            free = dial.extreme(free) or free
    assert not ask(free, cluster).feasible


def with_nodes(cluster: Inventory, one: Addition) -> Inventory:
    """The cluster after somebody did what was offered."""
    new = (one.gpus_per_node,) * one.nodes
    for place, pool in enumerate(cluster.pools):
        if pool.gpu is not None and (pool.gpu.name, pool.gpus_per_node) == (
            one.gpu,
            one.gpus_per_node,
        ):
            grown = replace(pool, free_gpus_by_node=(*pool.free_gpus_by_node, *new))
            return Inventory(pools=(*cluster.pools[:place], grown, *cluster.pools[place + 1 :]))
    added = toy.pool("new", toy.CATALOG.gpus[one.gpu], new, one.gpus_per_node)
    return Inventory(pools=(*cluster.pools, added))


@SETTINGS
@given(plans, clusters)
def test_every_addition_works(plan: Plan, cluster: Inventory):
    for one in ask(plan, cluster).additions:
        changed = replace(plan, over_nodes=one.over_nodes)
        for change in one.changes:
            dial = next(d for d in DIALS if d.field == change.field)
            changed = dial.turned(changed, change.needed)
        assert ask(changed, with_nodes(cluster, one)).feasible


@SETTINGS
@given(plans, clusters)
def test_an_infeasible_plan_has_an_offer_or_a_proof(plan: Plan, cluster: Inventory):
    found = ask(plan, cluster)
    proofs = ("no GPU of the catalogue", "the context is the cause")
    said = any(note.startswith(proofs) or "would make it feasible" in note for note in found.notes)
    assert found.feasible or found.relaxations or found.combined or found.additions or said


@SETTINGS
@given(plans, clusters)
def test_headroom_is_kept(plan: Plan, cluster: Inventory):
    """With all of the load that the headroom promises, the plan is still feasible."""
    best = ask(plan, cluster).best
    if best is None or not best.headroom:
        return
    fuller = times_loaded(plan, 1 + best.headroom * 0.98)
    assert ask(fuller, cluster).feasible
