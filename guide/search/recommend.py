"""The question answered, on one screen: the paper's inference engine (4.1).

    shapes -> bounds -> prospects -> best-first simulation -> mixed fleets -> rank -> Recommendation

CLI, web page and operator all call `recommend`. It is pure: the same plan, inventory, catalogue and
seed give the same answer, whatever the order of nodes.
"""

from __future__ import annotations

import math

from msgspec.structs import replace

from guide.domain import (
    BatchPoint,
    Candidate,
    Catalog,
    Evaluation,
    Inventory,
    Plan,
    Preference,
    Reason,
    Recommendation,
    Rejection,
    Relaxation,
)
from guide.search.additions import Tried, try_additions
from guide.search.batches import best_batch
from guide.search.bounds import Broken, excess
from guide.search.causes import find_causes
from guide.search.chunks import about_chunk, better_chunk
from guide.search.context import context_tiers
from guide.search.disaggregation import about_disaggregation
from guide.search.disaggregation import advice as apart
from guide.search.evaluate import Study
from guide.search.explore import Ledger, Survey, hunt, refused, rejection, survey
from guide.search.fleet import search
from guide.search.goal import CURVE, KNEE, Aim, Goal, goal_of
from guide.search.headroom import roomier, with_headroom
from guide.search.notes import notes
from guide.search.operating_point import idle, operate
from guide.search.precisions import about_tolerance, published_first
from guide.search.prefixes import about_prefixes
from guide.search.prefixes import advice as by_router
from guide.search.pricing import priced
from guide.search.progress import Seen, progress_of
from guide.search.rank import folded, identity, pareto_front, preferred, rank_key
from guide.search.relax import combined_relaxation, keeps_the_load, relaxations
from guide.search.rivals import rivals
from guide.search.sizing import Prospect, pace_s
from guide.search.space import is_online, releases_of
from guide.search.speculation import about_speculation, advice
from guide.simulate.runs import REMEMBERED
from guide.units import format_duration, format_seconds, format_usd

RATE, DAY = "spec.workload.requestsPerSecond", "spec.workload.dayProfile"
PLACES = 3  # the best and two alternatives (paper P2)


def recommend(
    plan: Plan,
    inventory: Inventory,
    catalog: Catalog,
    *,
    seed: int = 0,
    seen: Seen | None = None,
) -> Recommendation:
    """Choose a deployment for `plan` on `inventory`; `seen` is told after each simulation how far
    the search is.

    Infeasible is an answer, not an error: `best` is None, every rejection has its reason, and
    relaxations that work are offered.
    """
    inventory = priced(inventory, catalog, plan.budget.billing)
    study = Study(plan=plan, catalog=catalog, seed=seed)
    found = survey(study, inventory)
    ledger, goal = Ledger(), goal_of(plan)
    if seen:
        ledger.grown = lambda: seen(progress_of(ledger, found, goal))
    top = search(study, found, goal, PLACES, ledger)
    if seen and not top:
        seen(progress_of(ledger, found, goal, over=True))
    if top and goal.aim is Aim.LATENCY:
        top, goal = _at_the_knee(top, found, goal, study, ledger)
    if top and goal.aim is Aim.COST:
        top = roomier(top, found.prospects, study, inventory, ledger)
    top = published_first(top, found.prospects, study, ledger)
    top[:1] = [better_chunk(one, found.prospects, goal, study, ledger) for one in top[:1]]
    curve: tuple[BatchPoint, ...] = ()
    if top:
        top[0], curve = best_batch(top[0], found.prospects, study, ledger)
    fastest, widest = (
        hunt(found.prospects, study, replace(goal, aim=aim), 1, ledger) if top else []
        for aim in (Aim.SPEED, Aim.CAPACITY)
    )
    if plan.preference is Preference.LATENCY and fastest:
        _trade_off(study, found, fastest[0], ledger)
    rejections = _rejections(found, ledger, top, goal)
    offers = () if top else relaxations(study, inventory, found.placeable)
    together = (
        ()
        if top or keeps_the_load(offers)
        else combined_relaxation(study, inventory, found.placeable)
    )
    causes, added, scaling, drafts, routers = None, Tried(), None, None, None
    by_day: list[str] = []
    if top:
        top[0] = with_headroom(top[0], study, inventory)
        if plan.day is not None:
            from guide.search.scaling import about_scaling, scaling_of  # loads NumPy

            scaling = scaling_of(top[0], study, inventory)
            by_day = about_scaling(top[0], scaling)
        drafts = advice(top[0], study)
        routers = by_router(top[0], study, inventory)
    else:
        causes = find_causes(study, inventory, found, (*offers, *together))
        helpless = not (offers or together or causes.offers)
        added = try_additions(study, inventory, helpless=helpless)
    two_pools = apart(top[0] if top else None, found, study)
    return Recommendation(
        best=top[0] if top else None,
        alternatives=tuple(top[1:]),
        highest_throughput=widest[0] if widest else None,
        lowest_latency=fastest[0] if fastest else None,
        pareto=tuple(pareto_front(ledger.kept.values())),
        rejections=rejections,
        relaxations=_by_its_name(plan, offers),
        combined=_by_its_name(plan, together),
        batch_curve=curve,
        context_tiers=context_tiers(found.placeable),
        candidates=len(top) + len(rejections),
        inventory=inventory,
        catalog_digest=catalog.digest,
        framework_versions=tuple(
            (release.framework, release.version) for release in releases_of(plan, catalog)
        ),
        additions=tuple(added.works),
        rivals=rivals(top[0], found, goal, study) if top else (),
        scaling=scaling,
        speculation=drafts,
        prefixes=routers,
        disaggregation=two_pools,
        unready=plan.unready,
        notes=(
            *notes(plan, inventory, top, rejections, causes, added),
            *about_tolerance(plan, top, rejections),
            *(line for one in top[:1] for line in about_chunk(one, catalog)),
            *by_day,
            *(line for one in top[:1] for line in about_speculation(plan, one, drafts)),
            *(line for one in top[:1] for line in about_prefixes(one, routers, study)),
            *about_disaggregation(two_pools),
            *_folded(top, ledger),
        ),
        seed=seed,
    )


def forget() -> None:
    """Forget what earlier questions left in this process: answers stay the same and take longer."""
    REMEMBERED.forget()
    operate.cache_clear()
    idle.cache_clear()


def _by_its_name(plan: Plan, offers: tuple[Relaxation, ...]) -> tuple[Relaxation, ...]:
    """The load of a plan that states its day is the peak of it."""
    if plan.day is None:
        return offers
    peak = f"{DAY}.{'requestsPerSecond' if plan.day.recorded_per_s else 'peak'}"
    return tuple(replace(o, field=peak) if o.field == RATE else o for o in offers)


def _folded(top: list[Evaluation], ledger: Ledger) -> list[str]:
    """How many layouts are not listed, since they add nothing to one that is."""
    count = folded(ledger.kept.values(), top)
    if not count:
        return []
    layouts = "1 more layout" if count == 1 else f"{count} more layouts"
    return [f"{layouts} of the same GPUs, better in nothing by 2 %: not listed as alternatives"]


def _at_the_knee(
    top: list[Evaluation], found: Survey, goal: Goal, study: Study, ledger: Ledger
) -> tuple[list[Evaluation], Goal]:
    """Nobody pays double for 5 %: as long as half of the bill is so little slower, it is enough.
    Also the goal with the time that this leaves.
    """
    while True:
        best, slower = top[0], replace(goal, within_s=KNEE * pace_s(top[0]))
        cheaper = hunt(found.prospects, study, slower, PLACES, ledger)
        spent, usd = best.usd_per_h or 0.0, cheaper[0].usd_per_h
        if not spent or usd is None or usd > spent / 2:
            return top, replace(goal, within_s=pace_s(best))
        top = cheaper


def _trade_off(study: Study, found: Survey, fastest: Evaluation, ledger: Ledger) -> None:
    """Enter the cheapest deployments that are so many times as slow as the fastest: whoever asks
    for speed sees what it costs.
    """
    for times in (*CURVE, math.inf):
        limit_s = times * pace_s(fastest)
        goal = Goal(plan=study.plan, aim=Aim.LATENCY, within_s=limit_s)
        hunt(found.prospects, study, goal, 1, ledger)


def _rejections(
    found: Survey,
    ledger: Ledger,
    top: list[Evaluation],
    goal: Goal,
) -> tuple[Rejection, ...]:
    """Everything that is neither best nor alternative, with its reason."""
    winners = {identity(evaluation) for evaluation in top}
    tried = {key[:-1] for table in (ledger.kept, ledger.broken) for key in table}
    tried.update(ledger.refused)
    ranked = sorted(ledger.kept.values(), key=lambda e: rank_key(e, goal))
    return (
        *found.refused,
        *(refused(one, goal.plan) for one in ledger.refused.values()),
        *(rejection(e.candidate, broken) for e, broken in ledger.broken.values()),
        *(
            _dominated(evaluation, place, top[0], goal)
            for place, evaluation in enumerate(ranked, 1)
            if identity(evaluation) not in winners
        ),
        *(_not_tried(p, top) for p in found.prospects if p.replica.shape.key not in tried),
    )


def _dominated(evaluation: Evaluation, place: int, best: Evaluation, goal: Goal) -> Rejection:
    """Feasible, but others rank before it."""
    if place == 1:  # what is listed was near enough to it
        group = evaluation.groups[0].group
        detail = (
            "serves like the best, whose checkpoint is published in this precision"
            if is_online(group.model, group.precision)
            else "keeps every limit, but the best holds more load for the same bill"
        )
        return rejection(evaluation.candidate, Broken(Reason.DOMINATED, detail, 0.0))
    job = evaluation.job
    detail = f"keeps every limit but ranks {place} by {goal.plan.preference.value.lower()}: " + (
        f"{_price(evaluation.usd_per_h)}, p95 end-to-end time "
        f"{format_seconds(evaluation.predicted.e2e.p95_s)}"
        if job is None
        else f"{format_duration(job.seconds)}, {_price(evaluation.usd_per_h)}"
    )
    worse = excess(preferred(evaluation, goal), preferred(best, goal))
    return rejection(evaluation.candidate, Broken(Reason.DOMINATED, detail, max(0.0, worse)))


def _not_tried(prospect: Prospect, top: list[Evaluation]) -> Rejection:
    """Never simulated: even its bounds rank behind deployments that keep every limit."""
    usd, least = prospect.usd_per_h(prospect.fewest), top[0].usd_per_h
    detail = f"at least {_price(usd)}; not even at its best would it rank among the first {PLACES}"
    worse = excess(usd, least) if usd is not None and least is not None else 0.0
    candidate = Candidate(groups=(prospect.replica.group(prospect.fewest),))
    return rejection(candidate, Broken(Reason.DOMINATED, detail, max(0.0, worse)))


def _price(usd_per_h: float | None) -> str:
    return "no known price" if usd_per_h is None else f"{format_usd(usd_per_h)}/h"
