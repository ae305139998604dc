"""Whether prefill and decode in two pools pay: the cheapest two pools against the best deployment
of one kind of replica, both by the same simulation and the same limits."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import DisaggregationAdvice, Evaluation, Plan, TwoPools
from guide.search.bounds import counted
from guide.search.evaluate import ROUNDING, Study
from guide.search.explore import Survey
from guide.search.headroom import MOST_TIMES, times_loaded
from guide.search.two_pools import cheapest, separable
from guide.units import format_usd

MARGIN = 0.1  # of the bill, or of the load on the same GPUs: less is not worth a second pool


def advice(best: Evaluation | None, found: Survey, study: Study) -> DisaggregationAdvice | None:
    """The verdict for a plan that asks for it; `best` is None where nothing else keeps the
    limits."""
    if study.plan.disaggregation is None:
        return None
    pools = cheapest(found.replicas, study)
    if pools is None:
        return DisaggregationAdvice(pools=None, go=False, why=_none(found))
    if best is None:
        why = f"no deployment of one kind keeps every limit, and two pools of {_pools(pools)} do"
        return DisaggregationAdvice(pools=pools, go=True, why=why)
    need = (
        f"two pools need {_pools(pools)}, one kind of replica needs "
        f"{_cost(best.gpus, best.usd_per_h)}"
    )
    saved = _saved(pools, best)
    if saved >= MARGIN - ROUNDING:
        why = f"{need}, {saved:.0%} less"
        return DisaggregationAdvice(pools=pools, go=True, why=why)
    more = _more_load(pools, best, found, study)
    if more is not None:
        why = f"two pools on the same GPUs hold at least {more:.2g} times the load of the plan"
        return DisaggregationAdvice(
            pools=pools, go=True, why=f"{why}, one kind of replica {more / (1 + MARGIN):.2g} times"
        )
    less = f"{saved:.0%} less, under the {MARGIN:.0%} that a second pool is worth"
    why = f"{need}{f', {less}' if saved >= 0.005 else ''}"
    return DisaggregationAdvice(pools=pools, go=False, why=why)


def _saved(pools: TwoPools, best: Evaluation) -> float:
    """Share of the bill (of the GPUs where a price is unknown) that two pools save."""
    if pools.usd_per_h is None or best.usd_per_h is None:
        return 1 - pools.gpus / best.gpus
    return 1 - pools.usd_per_h / best.usd_per_h


def _more_load(pools: TwoPools, best: Evaluation, found: Survey, study: Study) -> float | None:
    """So many times the load, clearly more than `best` takes, that two pools hold on no more GPUs
    and for no larger bill; None where they do not."""
    room = best.headroom
    if pools.gpus > best.gpus or _saved(pools, best) < -ROUNDING:
        return None
    if room is None or 1 + room >= MOST_TIMES:
        return None
    times = (1 + room) * (1 + MARGIN)
    fuller = study.under(_within_the_bill(times_loaded(study.plan, times), best))
    return None if cheapest(found.replicas, fuller) is None else times


def _within_the_bill(plan: Plan, best: Evaluation) -> Plan:
    usd = best.usd_per_h
    most_usd = plan.budget.max_usd_per_h if usd is None else usd * (1 + ROUNDING)
    return replace(plan, budget=replace(plan.budget, max_gpus=best.gpus, max_usd_per_h=most_usd))


def _none(found: Survey) -> str:
    """Why there are no two pools."""
    if any(map(separable, found.replicas)):
        return "no two pools keep every limit within the free GPUs and the budget"
    if any(one.memory.pool is not None for one in found.replicas):
        return (
            f"layers of {found.plan.model.name} forget tokens or keep a state, and handing these "
            "over is not modelled"
        )
    return "none of the layouts that remain is modelled in two pools"


def _pools(pools: TwoPools) -> str:
    return (
        f"{_cost(pools.gpus, pools.usd_per_h)} ({pools.prefill.gpus} for prefill, "
        f"{pools.decode.gpus} for decode)"
    )


def _cost(gpus: int, usd_per_h: float | None) -> str:
    price = "" if usd_per_h is None else f" at {format_usd(usd_per_h)}/h"
    return f"{counted(gpus, 'GPU')}{price}"


def about_disaggregation(found: DisaggregationAdvice | None) -> list[str]:
    """The verdict in a sentence."""
    if found is None:
        return []
    verdict, manifests = (
        ("go", ", and no manifests are written for it") if found.go else ("no go", "")
    )
    return [f"prefill and decode apart: {verdict}, since {found.why}; unmeasured here{manifests}"]
