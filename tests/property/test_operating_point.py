"""An operating point is worked out once in a process: all that may change it is part of the
question, and nothing else is.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guide.domain import Catalog, Inventory, Plan, Slo
from guide.search import additions, causes
from guide.search.asked import Asked, asked_of
from guide.search.bounds import LAYOUT_RULES, Broken
from guide.search.context import _longest, _tier, context_tiers
from guide.search.evaluate import Study
from guide.search.explore import Ledger, survey
from guide.search.fleet import cheapest
from guide.search.operating_point import Replica, idle, operate
from guide.search.space import Shape, shapes
from tests import toy
from tests.property.test_search_engine import MLA, MODELS, WINDOWED, catalog, plans

SOME = settings(max_examples=12)


def afresh(shape: Shape, asked: Asked, known: Catalog) -> Replica | Broken:
    """Without the memory of this process."""
    idle.cache_clear()
    return operate.__wrapped__(shape, asked, known)


def on_its_pool(shape: Shape, plan: Plan) -> object:
    found = afresh(shape, asked_of(plan), catalog())
    return replace(found, shape=shape.anywhere) if isinstance(found, Replica) else found


@SOME
@given(plans((*MODELS, *WINDOWED, *MLA)), st.booleans(), st.booleans(), st.data())
def test_no_pool_has_a_say_beside_its_links(
    plan: Plan, over_nodes: bool, domain: bool, data: st.DataObject
):
    """Sizes of nodes count as far as a replica goes over several, NVLink domains where there are
    some.
    """
    plan = replace(plan, over_nodes=over_nodes)
    gpu = catalog().gpus[data.draw(st.sampled_from(["H100-SXM", "L4"]))]
    per_node = data.draw(st.sampled_from([1, 2, 4, 8]))
    pool = toy.pool("its-name", gpu, (per_node,) * 4, per_node)
    if domain:
        pool = replace(pool, nvlink_domains=(pool.free_gpus_by_node,))
    placed = [
        shape
        for shape in shapes(plan, Inventory(pools=(pool,)), catalog())
        if not any(rule(shape) for rule in LAYOUT_RULES)
    ]
    for shape in placed[:: max(1, len(placed) // 8)]:
        assert on_its_pool(shape, plan) == afresh(shape.anywhere, asked_of(plan), catalog())


@SOME
@given(plans(), st.floats(0.1, 50), st.floats(0.5, 3), st.floats(0.01, 2))
def test_no_limit_and_no_rate_has_a_say(plan: Plan, rate: float, cv: float, ttft_s: float):
    load = plan.workload
    if load.requests_per_s is not None:
        load = replace(load, requests_per_s=rate, arrival_cv=cv)
    other = replace(plan, workload=load, slo=Slo(ttft_p95_s=ttft_s), min_replicas=2)
    assert asked_of(other) == asked_of(plan)


@pytest.mark.parametrize(("ttft_s", "works"), [(0.05, False), (20.0, True)])
@pytest.mark.parametrize("gpu", ["H100-SXM", "A100-80GB"])
def test_what_goes_over_nodes_is_all_that_is_asked_again(gpu: str, ttft_s: float, works: bool):
    """Where bounds leave nothing of a GPU on one node, the search for additions over nodes finds
    the same whether the layouts inside of one are asked again or not.
    """
    plan = Plan(
        model=catalog().models["meta-llama/Llama-3.1-405B-Instruct"],  # more than a node holds
        workload=replace(toy.question().workload, requests_per_s=0.1),
        slo=Slo(ttft_p95_s=ttft_s),
        frameworks=("vLLM",),
        gpus=(gpu,),
    )
    nothing = Inventory(pools=())
    tried = additions._search(Study(plan=plan, catalog=catalog()), nothing, 1)
    assert tried.may_work == {gpu: False}
    wide = Study(plan=replace(plan, over_nodes=True), catalog=catalog())
    short = additions._search(wide, nothing, 1, tried.may_work)
    assert short.works == additions._search(wide, nothing, 1).works
    assert bool(short.works) == works


@pytest.mark.parametrize(("ttft_s", "works"), [(0.05, False), (20.0, True)])
def test_and_of_the_nodes_that_are_there(ttft_s: float, works: bool):
    plan = Plan(
        model=catalog().models["meta-llama/Llama-3.1-405B-Instruct"],
        workload=replace(toy.question().workload, requests_per_s=0.1),
        slo=Slo(ttft_p95_s=ttft_s),
        frameworks=("vLLM",),
    )
    pool = toy.pool("large", catalog().gpus["H100-SXM"], (8, 8, 8, 8), 8)
    study, inventory = Study(plan=plan, catalog=catalog()), Inventory(pools=(pool,))
    found = survey(study, inventory)
    assert not found.replicas
    wide = study.under(replace(plan, over_nodes=True))
    whole = cheapest(wide, survey(wide, inventory), Ledger())
    assert causes._over_nodes(study, inventory, found) == whole
    assert (whole is not None) == works


@SOME
@given(plans((*MODELS, *WINDOWED, *MLA)), st.lists(st.sampled_from(["L4", "H100-SXM"]), min_size=1))
def test_a_shape_that_could_not_win_is_not_asked_for_its_context(plan: Plan, gpus: list[str]):
    pools = tuple(
        toy.pool(f"pool-{n}", catalog().gpus[gpu], (8, 8), 8) for n, gpu in enumerate(gpus[:3])
    )
    placeable = survey(Study(plan=plan, catalog=catalog()), Inventory(pools=pools)).placeable
    best: dict[int, tuple[object, ...]] = {}
    for shape in placeable:
        tokens = _longest(shape.anywhere)
        mine = (-tokens, shape.variant.loss, shape.key, _tier(shape, tokens))
        if tokens > 0 and (shape.gpus not in best or mine[:3] < best[shape.gpus][:3]):
            best[shape.gpus] = mine
    assert context_tiers(placeable) == tuple(best[gpus][3] for gpus in sorted(best))


@pytest.mark.parametrize("toys", [True, False])
def test_a_toy_in_the_engines_place_is_gone_with_its_test(
    toys: bool, request: pytest.FixtureRequest
):
    """In whatever order: `tests.conftest.monkeypatch` sees to it."""
    if toys:
        toy.install(request.getfixturevalue("monkeypatch"))
    plan, pool = toy.question(), toy.pool("real", catalog().gpus["H100-SXM"], (8,), 8)
    shape = next(iter(shapes(plan, Inventory(pools=(pool,)), catalog())))
    found = operate(shape.anywhere, asked_of(plan), catalog())
    assert isinstance(found, Replica)
    assert (found.fit.evidence == "toy") is toys
