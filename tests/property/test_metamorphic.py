"""What a change of a question must do to its answer, over random plans on the real engine.

200 plans by default; GUIDE_METAMORPHIC_PLANS says how many (`make scale`: 2,000). Every plan is
held against one relation; violations are counted, and none is allowed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from random import Random

import pytest

from guide.catalog import load
from guide.domain import (
    Billing,
    Budget,
    Catalog,
    Evaluation,
    Inventory,
    Lengths,
    MixRule,
    Plan,
    Preference,
    Recommendation,
    Slo,
    Tolerance,
    Workload,
)
from guide.search.fleet import MIX_BENEFIT
from guide.search.recommend import forget, recommend
from guide.search.relax import DIALS
from tests import toy

PLANS = int(os.environ.get("GUIDE_METAMORPHIC_PLANS", "200"))
MODELS = ("meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-3B-Instruct", "openai/gpt-oss-20b")
GPUS = ("H100-SXM", "A100-80GB", "L40S", "L4", "A10")
CENT = 0.005


@cache
def catalog() -> Catalog:
    return load()


@dataclass(frozen=True, slots=True)
class Case:
    """A plan on a cluster."""

    plan: Plan
    cluster: Inventory

    def answer(self, seed: int = 0) -> Recommendation:
        return recommend(self.plan, self.cluster, catalog(), seed=seed)

    def afresh(self, seed: int = 0) -> Recommendation:
        """The answer of a process that has simulated nothing yet."""
        forget()
        return self.answer(seed)

    def with_plan(self, **changes: object) -> Case:
        return replace(self, plan=replace(self.plan, **changes))  # pyright: ignore[reportArgumentType]


def case(number: int) -> Case:
    """The same case for the same number, here and on every machine."""
    dice = Random(f"metamorphic {number}")

    def lengths(least: int, most: int) -> Lengths:
        mean = round(math.exp(dice.uniform(math.log(least), math.log(most))))
        return Lengths(mean_tokens=mean, p95_tokens=round(mean * dice.uniform(1, 3)))

    def maybe(value: float, share: float = 0.6) -> float | None:
        return value if dice.random() < share else None

    rate = round(math.exp(dice.uniform(math.log(0.2), math.log(12))), 3)
    opened = dice.random() < 0.7
    plan = Plan(
        model=catalog().models[dice.choice(MODELS)],
        workload=Workload(
            prompt=lengths(64, 2000),
            output=lengths(16, 300),
            requests_per_s=rate if opened else None,
            concurrency=None if opened else dice.randint(1, 48),
            arrival_cv=dice.choice((0.7, 1.0, 2.0)) if opened else 1.0,
        ),
        slo=Slo(
            ttft_p95_s=maybe(dice.uniform(0.1, 3)),
            tpot_p95_s=maybe(dice.uniform(0.008, 0.12)),
            e2e_p95_s=maybe(dice.uniform(2, 30), 0.2),
        ),
        budget=Budget(
            max_usd_per_h=maybe(dice.uniform(1, 40), 0.3),
            max_gpus=dice.randint(1, 8) if dice.random() < 0.2 else None,
            billing=dice.choice(tuple(Billing)),
        ),
        preference=dice.choice(tuple(Preference)),
        tolerance=dice.choice(tuple(Tolerance)),
        frameworks=("vLLM",),
        mix=MixRule.ANY,
    )
    names = dice.sample(GPUS, dice.choice((1, 1, 1, 2)))
    pools = tuple(
        toy.pool(
            name.lower(),
            catalog().gpus[name],
            (per_node,) * dice.randint(1, 3),
            per_node,
        )
        for name in names
        for per_node in (dice.choice((1, 2, 4)),)
    )
    return Case(plan, Inventory(pools=pools))


def bill(one: Evaluation | None) -> float:
    """USD per hour, infinite without an answer."""
    return math.inf if one is None else one.usd_per_h or 0.0


def no_dearer(before: Recommendation, after: Recommendation, times: float = 1.0) -> bool:
    """Whether `after` has an answer wherever `before` has one, for no more money."""
    return bill(after.best) <= bill(before.best) * times + CENT


def _cheap(one: Case) -> Case:
    return one.with_plan(preference=Preference.COST)


def other_order(one: Case, dice: Random) -> bool:
    pools = Inventory(pools=one.cluster.pools[::-1])
    del dice
    return one.answer() == replace(one, cluster=pools).afresh()


def other_names(one: Case, dice: Random) -> bool:
    """The order of names stays, so that no tie is broken otherwise."""
    named = (replace(pool, name=f"renamed-{pool.name}") for pool in one.cluster.pools)
    del dice
    before, after = one.answer(), replace(one, cluster=Inventory(pools=tuple(named))).answer()
    known = (before.best and before.best.predicted, bill(before.best))
    return known == (after.best and after.best.predicted, bill(after.best))


def same_seed(one: Case, dice: Random) -> bool:
    seed = dice.randint(1, 9)
    return one.answer(seed) == one.afresh(seed)


def less_load(one: Case, dice: Random) -> bool:
    one, load = _cheap(one), one.plan.workload
    part = dice.uniform(0.3, 0.8)
    less = replace(
        load,
        requests_per_s=load.requests_per_s and load.requests_per_s * part,
        concurrency=load.concurrency and max(1, round(load.concurrency * part)),
    )
    return no_dearer(one.answer(), one.with_plan(workload=less).answer())


def looser_limits(one: Case, dice: Random) -> bool:
    one, slo, by = _cheap(one), one.plan.slo, dice.uniform(1.1, 3)
    looser = Slo(
        ttft_p95_s=slo.ttft_p95_s and slo.ttft_p95_s * by,
        tpot_p95_s=slo.tpot_p95_s and slo.tpot_p95_s * by,
        e2e_p95_s=slo.e2e_p95_s and slo.e2e_p95_s * by,
    )
    return no_dearer(one.answer(), one.with_plan(slo=looser).answer())


def larger_budget(one: Case, dice: Random) -> bool:
    one, budget, by = _cheap(one), one.plan.budget, dice.uniform(1.1, 3)
    larger = replace(
        budget,
        max_usd_per_h=budget.max_usd_per_h and budget.max_usd_per_h * by,
        max_gpus=budget.max_gpus and math.ceil(budget.max_gpus * by),
    )
    return no_dearer(one.answer(), one.with_plan(budget=larger).answer())


def more_nodes(one: Case, dice: Random) -> bool:
    one, first = _cheap(one), one.cluster.pools[0]
    grown = replace(first, free_gpus_by_node=(*first.free_gpus_by_node, first.gpus_per_node))
    del dice
    after = replace(one, cluster=Inventory(pools=(grown, *one.cluster.pools[1:])))
    return no_dearer(one.answer(), after.answer())


def another_pool(one: Case, dice: Random) -> bool:
    one = _cheap(one)
    name = dice.choice([n for n in GPUS if all(n.lower() != p.name for p in one.cluster.pools)])
    new = toy.pool(name.lower(), catalog().gpus[name], (2,), 2)
    after = replace(one, cluster=Inventory(pools=(*one.cluster.pools, new)))
    return no_dearer(one.answer(), after.answer())


def any_preference(one: Case, dice: Random) -> bool:
    del dice
    return len({one.with_plan(preference=p).answer().feasible for p in Preference}) == 1


def wider_tolerance(one: Case, dice: Random) -> bool:
    one = _cheap(one)
    del dice
    tight = one.with_plan(tolerance=Tolerance.LOSSLESS)
    return no_dearer(tight.answer(), one.with_plan(tolerance=Tolerance.INT4).answer())


def the_mix_rule(one: Case, dice: Random) -> bool:
    """Auto may be dearer than Any by the benefit that a mix must have; Never is no cheaper."""
    one = _cheap(one)
    del dice
    free, auto, none = (one.with_plan(mix=rule).answer() for rule in _RULES)
    return no_dearer(free, auto, 1 / (1 - MIX_BENEFIT)) and no_dearer(none, auto)


_RULES = (MixRule.ANY, MixRule.AUTO, MixRule.NEVER)


def offers_work(one: Case, dice: Random) -> bool:
    del dice
    found, together = one.answer(), one.plan
    for offer in found.relaxations:
        dial = next(d for d in DIALS if d.field == offer.field)
        if not replace(one, plan=dial.turned(one.plan, offer.needed)).answer().feasible:
            return False
    for offer in found.combined:
        dial = next(d for d in DIALS if d.field == offer.field)
        together = dial.turned(together, offer.needed)
    return not found.combined or replace(one, plan=together).answer().feasible


RELATIONS: tuple[Callable[[Case, Random], bool], ...] = (
    other_order,
    other_names,
    same_seed,
    less_load,
    looser_limits,
    larger_budget,
    more_nodes,
    another_pool,
    any_preference,
    wider_tolerance,
    the_mix_rule,
    offers_work,
)


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.__name__)
def test_no_plan_violates(relation: Callable[[Case, Random], bool]):
    first = RELATIONS.index(relation)
    numbers = range(first, PLANS, len(RELATIONS))
    violations = [n for n in numbers if not relation(case(n), Random(f"{relation.__name__} {n}"))]
    assert not violations, f"{len(violations)} of {len(numbers)} plans: {violations[:10]}"
