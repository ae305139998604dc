"""Every reason and every offer beside an infeasible answer is compared with a run of the engine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from guide.domain import Budget, Inventory, Plan, Preference, Slo, Tolerance
from guide.search.causes import with_more_memory, with_more_nodes
from guide.search.relax import DIALS, LOADS
from tests import toy
from tests.toy_questions import ask, clusters, plans

SETTINGS = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
