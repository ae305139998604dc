"""What a process remembers of simulations: by all that they depend on, and by nothing else."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guide.domain import (
    Catalog,
    Inventory,
    LayerGroup,
    Lengths,
    ModelArch,
    Plan,
    Preference,
    ServingReport,
    Tolerance,
    Workload,
)
from guide.search.causes import with_more_memory
from guide.search.evaluate import APART, Study, load_share
from guide.search.explore import survey
from guide.search.headroom import times_loaded
from guide.search.recommend import forget, recommend
from guide.simulate import serve
from tests import toy
from tests.property.test_search_engine import LOAD, catalog, clusters, plans


def test_models_that_add_up_alike_are_simulated_apart():
    """Few large heads have the bytes and operations of many small ones, and other kernels; no fit
    was made for either.
    """
    known = catalog().models["meta-llama/Llama-3.1-8B-Instruct"]

    def with_heads(times: float) -> ModelArch:
        def changed(group: LayerGroup) -> LayerGroup:
            whole = group.attention
            assert whole is not None
            heads = {"heads": int(times * whole.heads), "kv_heads": int(times * whole.kv_heads)}
            one = replace(whole, head_dim=int(whole.head_dim / times), **heads)
            return replace(group, attention=one)

        return replace(known, groups=tuple(map(changed, known.groups)))

    model, other = with_heads(0.5), with_heads(2)

    def simulated(arch: ModelArch) -> dict[Any, ServingReport]:
        plan = Plan(model=model, workload=LOAD, frameworks=("vLLM",))
        study = Study(plan=plan, catalog=catalog())
        pool = toy.pool("a100", catalog().gpus["A100-80GB"], (8,))
        found = survey(study, Inventory(pools=(pool,))).replicas
        shapes = (
            replace(one.shape, variant=replace(one.shape.variant, model=arch)) for one in found[:2]
        )
        both = (replace(one, shape=shape) for one, shape in zip(found, shapes, strict=False))
        return {one.shape.key[1:]: study.report(one, LOAD) for one in both}

    forget()
    afresh = simulated(other)
    forget()
    before = simulated(model)
    assert before.keys() == afresh.keys()
    assert all(before[key] != afresh[key] for key in afresh)
    assert simulated(other) == afresh


@settings(max_examples=4)
@given(plans(), clusters(), st.data())
def test_no_digit_depends_on_what_was_asked_before(
    plan: Plan, cluster: Inventory, data: st.DataObject
):
    """A process that remembers simulations answers like one that has just begun."""
    forget()
    afresh = recommend(plan, cluster, catalog())
    forget()
    recommend(data.draw(plans()), cluster, catalog())
    # loads that share out alike, in larger caches
    recommend(times_loaded(plan, 2), with_more_memory(cluster), catalog())
    assert recommend(plan, cluster, catalog()) == afresh


@given(st.floats(0.01, 1e4), st.integers(1, 64), st.floats(1, 1 + 1e-6))
def test_loads_that_are_near_are_one(per_s: float, replicas: int, more: float):
    """What is simulated is half a percent at most from what is asked, and grows with it."""
    asked = (per_s, per_s * more, per_s * APART)
    share, same, other = (
        load_share(replace(LOAD, requests_per_s=each), replicas).requests_per_s or 0.0
        for each in asked
    )
    assert abs(math.log(share * replicas / per_s)) <= math.log(APART) / 2 * (1 + 1e-6)
    assert same in (share, other)
    assert other == pytest.approx(share * APART)


def test_what_serves_alike_is_simulated_once(monkeypatch: pytest.MonkeyPatch):
    """A renamed checkpoint and a second pool of the same GPU cost no simulation, and neither does
    a load that is the same to three digits.
    """
    run, runs = serve.run, list[object]()

    def counted(*args: Any, **other: Any) -> object:
        runs.append(args)
        return run(*args, **other)

    def simulations(pools: tuple[str, ...], models: Catalog) -> int:
        forget()
        runs.clear()
        cluster = Inventory(pools=tuple(toy.pool(name, a100, (8,)) for name in pools))
        assert recommend(plan, cluster, models).best is not None
        return len(runs)

    monkeypatch.setattr(serve, "run", counted)
    a100 = catalog().gpus["A100-80GB"]
    model = catalog().models["meta-llama/Llama-3.1-8B-Instruct"]
    plan = Plan(
        model=model,
        workload=Workload(
            prompt=Lengths(mean_tokens=500), output=Lengths(mean_tokens=100), requests_per_s=4
        ),
        tolerance=Tolerance.INT4,
        preference=Preference.COST,
    )
    derived = next(m for m in catalog().models.values() if m.base == model.name)
    twin = replace(derived, name=f"{derived.name}-twin")
    with_twin = replace(catalog(), models={**catalog().models, twin.name: twin}, digest="twin")
    alone = simulations(("a",), catalog())
    assert alone > 0
    assert simulations(("a",), with_twin) <= alone
    assert simulations(("a", "b"), catalog()) <= alone
    near = replace(plan, workload=replace(plan.workload, requests_per_s=4.001))
    runs.clear()
    assert (
        recommend(near, Inventory(pools=(toy.pool("a", a100, (8,)),)), catalog()).best is not None
    )
    assert not runs
