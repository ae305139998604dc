"""What routers make of the recommended layout: the same replicas behind each of them, by the same
simulation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from guide.domain import (
    Evaluation,
    Inventory,
    Plan,
    PrefixAdvice,
    Prefixes,
    Router,
    RouterPoint,
    Workload,
)
from guide.search.evaluate import Member, Study, evaluate, hit_share
from guide.search.headroom import members_as_they_are
from guide.search.knobs import verdict
from guide.search.rank import capacity_per_s
from guide.simulate.policy import release_of
from guide.units import format_rate

BETTER = 1.1  # times the capacity: a router worth a sentence


def advice(best: Evaluation, study: Study, inventory: Inventory) -> PrefixAdvice | None:
    """The routers compared for `best`; None for a plan that states no prefixes."""
    asked = study.plan.workload
    prefixes = asked.prefixes
    members = None if prefixes is None else members_as_they_are(best, study, inventory)
    if prefixes is None or members is None:
        return None
    points = [
        _point(several, router, prefixes, study)
        for several in _counts(members, study.plan)
        for router in ((Router.ROUND_ROBIN,) if asked.offline is not None else Router)
    ]
    return PrefixAdvice(
        prefixes=prefixes, most_hit_share=asked.prefix_hit_share, points=tuple(points)
    )


def _counts(members: list[Member], plan: Plan) -> Iterator[list[Member]]:
    """The replicas as they are; of a single group also twice as many, where routers matter more."""
    yield members
    if len(members) == 1 and plan.workload.offline is None:
        yield [replace(one, replicas=2 * one.replicas) for one in members]


def _point(
    members: Sequence[Member], router: Router, prefixes: Prefixes, study: Study
) -> RouterPoint:
    plan = study.plan
    behind = replace(plan.workload, prefixes=replace(prefixes, router=router))
    under = study.under(replace(plan, workload=behind))
    found = evaluate(members, under)
    stable = all(item.report.stable for item in found.groups)
    return RouterPoint(
        router=router,
        replicas=sum(one.replicas for one in members),
        hit_share=hit_share(found) or 0.0,
        ttft_p95_s=found.predicted.ttft.p95_s if stable else None,
        capacity_per_s=_capacity_per_s(found, plan.workload),
        holds=verdict(found, members, under.plan) is None,
    )


def _capacity_per_s(found: Evaluation, load: Workload) -> float | None:
    """Requests/s at saturation; of a closed loop what is served, and of a batch nothing."""
    if load.offline is not None:
        return None
    return capacity_per_s(found) if load.concurrency is None else found.predicted.requests_per_s


def about_prefixes(best: Evaluation, found: PrefixAdvice | None, study: Study) -> list[str]:
    """What the answer counts on, which router would do better, and what that takes."""
    if found is None:
        return []
    prefixes = found.prefixes
    replicas = sum(item.group.replicas for item in best.groups)
    here = found.planned
    notes = [
        f"{here.hit_share:.0%} of prompt tokens are found in prefix caches {_WHERE[here.router]} "
        f"(simulated: {prefixes.groups:,} groups of {prefixes.shared_tokens:,} shared tokens; one "
        f"cache that forgets nothing would find {found.most_hit_share:.0%}); unmeasured here"
    ]
    without = {
        item.group.framework
        for item in best.groups
        if not release_of(item.group, study.catalog).prefix_cache
    }
    if without:
        notes.append(f"{' and '.join(sorted(without))} keeps no prefixes: each prompt is computed")
    if replicas == 1 or best.job is not None:
        return notes
    if prefixes.router is not Router.ROUND_ROBIN:
        notes.append(_NEEDS[prefixes.router])
        return notes
    aware = found.behind(Router.PREFIX_AWARE)
    much, little = aware.capacity_per_s or 0.0, here.capacity_per_s or 0.0
    if much > BETTER * little:
        notes.append(
            f"behind a prefix-aware router the same replicas find {aware.hit_share:.0%} and "
            f"saturate at {format_rate(much)} instead of {format_rate(little)} requests/s: plan "
            "with workload.prefixes.router PrefixAware; manifests of format inferencepool hold "
            "what such a router needs"
        )
    return notes


_WHERE = {
    Router.ROUND_ROBIN: "behind a Service, which deals requests out to any replica",
    Router.SESSION_AFFINITY: "behind a router that hashes each group to one replica",
    Router.PREFIX_AWARE: "behind a prefix-aware router",
}
_NEEDS = {
    Router.SESSION_AFFINITY: "the answer needs a router that hashes the session or group of a "
    "request: a Service with sessionAffinity ClientIP hashes the address of the client instead, "
    "which behind a gateway is one for all, and GUIDE writes no such router",
    Router.PREFIX_AWARE: "the answer needs a prefix-aware router, which a Service is not: "
    "manifests of format inferencepool hold what one needs",
}
