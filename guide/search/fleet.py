"""Mixed fleets: replicas on different GPU types behind one name, when a mix can be the best answer.

`guide.search.mix_solver` proposes, simulation disposes: a shape enters with the share of the load
that its capacity allows (an upper bound); once proposed, the largest share that keeps every latency
limit is found by simulating it, and the programme is solved again. A mix whose shapes all have
their true shares is the optimum; it is then simulated group by group under its own shares.

Shares: equal for every replica behind one Service where that is as good, else weighted by group in
thousandths, as the backends of an HTTPRoute. Every group keeps every latency limit by itself.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator

from msgspec import Struct, field
from msgspec.structs import replace

from guide.domain import Evaluation, MixRule, Plan
from guide.search.bounds import Broken
from guide.search.evaluate import Member, Study, evaluate, load_share
from guide.search.explore import Ledger, Survey, hunt, leaders
from guide.search.goal import KNEE, Aim, Goal
from guide.search.knobs import misses_latency, settled, verdict
from guide.search.loaded import loaded
from guide.search.mix_solver import (
    MONEY,
    Mix,
    MixPart,
    MixProblem,
    bill,
    least_usd_per_h,
    name_of,
    solve,
)
from guide.search.operating_point import Replica
from guide.search.rank import capacity_per_s, identity, optimistic_key, preferred, rank_key
from guide.search.sizing import Prospect, Trial, grade, most_replicas, pace_s

RUNGS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)  # of the share by capacity
HEADROOMS = (1.0, 0.75, 0.5, 0.25)  # tried for latency: less load a replica, shorter queues
MOST_MEASURED = 48  # shapes simulated on the ladder for one question
THOUSANDTHS = 1000
TRIES = 6  # mixes that fail although each shape was measured: rounding, or a closed loop
CENT = 0.01
MIX_BENEFIT = 0.15  # over the best of one GPU type: less is not worth a second thing to run


def search(
    study: Study, survey: Survey, goal: Goal, places: int, ledger: Ledger
) -> list[Evaluation]:
    """The best `places` deployments: of one pool, of several pools of one GPU type, and mixed ones
    when the plan's rule for mixes lets one of them be best.
    """
    if goal.aim is not Aim.COST and cheapest(study, survey, ledger) is None:
        return []
    if goal.aim is Aim.LATENCY and goal.within_s == math.inf:
        fastest = hunt(survey.prospects, study, replace(goal, aim=Aim.SPEED), 1, ledger)
        goal = _sharpened(goal, fastest)
    top = hunt(survey.prospects, study, goal, places, ledger)
    return _with_mixes(study, survey, goal, top, places, ledger)


def cheapest(study: Study, survey: Survey, ledger: Ledger) -> Evaluation | None:
    """The cheapest deployment of one pool, else a mixed one, else None: what is feasible does not
    depend on the preference.
    """
    goal = Goal(plan=study.plan, aim=Aim.COST)
    top = hunt(survey.prospects, study, goal, 1, ledger)
    if not top:
        top = _with_mixes(study, survey, goal, top, 1, ledger)
    return top[0] if top else None


def feasible(study: Study, survey: Survey, *, mixed: bool = True) -> Evaluation | None:
    """Any deployment that keeps every limit, without asking which would be cheapest: the fastest
    layouts first, each with all the replicas that it may have.
    """
    goal = Goal(plan=study.plan, aim=Aim.SPEED)
    ranked = sorted(survey.prospects, key=lambda p: optimistic_key(p, goal))
    for found in (one for one in ranked if isinstance(loaded(one, study), Prospect)):
        one, broken = settled(found.replica, found.most, study)
        if broken is None:
            return one
    return mix(study, survey) if mixed else None


def mix(study: Study, survey: Survey) -> Evaluation | None:
    """A mixed fleet that keeps every limit, where no pool alone does."""
    top = _with_mixes(study, survey, Goal(plan=study.plan, aim=Aim.COST), [], 1, Ledger())
    return top[0] if top else None


def _with_mixes(
    study: Study, survey: Survey, goal: Goal, top: list[Evaluation], places: int, ledger: Ledger
) -> list[Evaluation]:
    """The best `places` deployments when those of one pool are known; a batch stays on one."""
    if study.plan.workload.offline is not None:
        return top
    for parts, benefit, most_types in _fleets(parts_of(survey, study.plan), study.plan.mix):
        best = top[0] if top else None
        fleet = Fleet(study=study, goal=goal, parts=parts, benefit=benefit, most_types=most_types)
        if (most_types is None and benefit and best is not None) or not fleet.may_win(best):
            continue
        ledger.add(fleet.trial(best, max(1, places - len(top))))
        goal = _sharpened(goal, leaders(ledger, replace(goal, aim=Aim.SPEED), 1))
        top = leaders(ledger, goal, places)
    return top


def _sharpened(goal: Goal, fastest: list[Evaluation]) -> Goal:
    """The goal with the time that is fast enough, once the fastest is known."""
    if goal.aim is not Aim.LATENCY or not fastest:
        return goal
    return replace(goal, within_s=KNEE * pace_s(fastest[0]))


def _fleets(
    parts: list[MixPart], rule: MixRule
) -> Iterator[tuple[list[MixPart], float, int | None]]:
    """Which shapes to mix in which order, the benefit that is asked, and the most GPU types.

    Several pools of one type are no mix: they look alike to whoever runs them.
    """
    by_type: dict[str, list[MixPart]] = {}
    for part in parts:
        by_type.setdefault(part.replica.shape.gpu.name, []).append(part)
    if len(by_type) > 1 or rule is MixRule.NEVER:
        for name in sorted(by_type):
            yield by_type[name], 0.0, None
    if rule is MixRule.ANY or len(by_type) == 1:
        yield parts, 0.0, None
    elif rule is MixRule.AUTO:
        yield parts, MIX_BENEFIT, 2
        yield parts, MIX_BENEFIT, None  # only where nothing else is feasible


def parts_of(survey: Survey, plan: Plan) -> list[MixPart]:
    """The shapes that serve at their operating point, whatever the count that they would need."""
    found: list[MixPart] = []
    offered, need = plan.workload.requests_per_s, plan.slo.min_output_tokens_per_s
    if offered is not None and need is not None:  # what must be sustained, whatever arrives
        offered = max(offered, need / plan.workload.output.mean_tokens)
    for replica in survey.replicas:
        priced = replica.shape.pool.price is not None
        if plan.budget.max_usd_per_h is not None and not priced:
            continue
        share = 1.0 if offered is None else min(1.0, replica.capacity_per_s / offered)
        most = most_replicas(replica, plan)
        if most > 0 and share > 0:
            found.append(MixPart(replica=replica, most=most, share=share))
    return found


class Fleet(Struct):
    """The search for mixes of one question."""

    study: Study
    goal: Goal
    parts: list[MixPart]
    benefit: float = 0.0  # that a mix must have over the best without one
    most_types: int | None = None
    measured: set[int] = field(default_factory=set[int])  # indices of parts with their true share
    fresh: int = 0  # shapes measured for this question

    def __post_init__(self) -> None:
        """What another load or limit of the same study has shown is no question any more; what
        carries nothing within its limits is no part of any mix.
        """
        known = [(part, self.study.carried.get(self._asked(part))) for part in self.parts]
        left = [(part, share) for part, share in known if share != 0]
        self.measured = {index for index, (_, share) in enumerate(left) if share is not None}
        self.parts = [
            part if share is None else replace(part, share=part.share * share)
            for part, share in left
        ]

    # --- whether it can matter, without any programme ---

    def may_win(self, best: Evaluation | None) -> bool:
        """Whether bounds leave room for a mix that beats `best`, the best of one pool."""
        by_pool: dict[str, list[MixPart]] = {}
        for part in self.parts:
            by_pool.setdefault(part.replica.shape.pool.name, []).append(part)
        pools = list(by_pool.values())
        if len(pools) < 2:
            return False
        if best is None:
            return sum(max(p.share * p.most for p in parts) for parts in pools) >= 1
        aim, bar = self.goal.aim, preferred(best, self.goal) * (1 - self.benefit)
        if aim in (Aim.LATENCY, Aim.SPEED):
            second = sorted(min(p.e2e_s for p in parts) for parts in pools)[1]
            return grade(second) < grade(bar)
        if aim in (Aim.OUTPUT, Aim.CAPACITY):
            widest = sum(max(p.widest_per_s for p in parts) for parts in pools)
            return grade(widest * (1 - self.benefit)) > grade(capacity_per_s(best))
        limit = self._below(best)
        per_load = min(p.least_usd_per_h / p.share for p in self.parts)
        if aim is Aim.EFFICIENCY:
            return per_load < limit
        one_of_each = sorted(min(p.usd_per_h(1) for p in parts) for parts in pools)[:2]
        return max(sum(one_of_each), per_load) < limit

    def _below(self, best: Evaluation) -> float:
        """What a mix must cost less than, in the money of the programme."""
        if self.goal.aim is Aim.EFFICIENCY:
            spent = sum(least_usd_per_h(g.pool, g.gpus) for g in best.candidate.groups)
        else:
            spent = _bill(best)
        return spent * (1 - self.benefit) - CENT

    # --- the search ---

    def trial(self, best: Evaluation | None, places: int) -> Trial:
        """Mixes that keep every limit, and those that were simulated and do not."""
        trial = Trial()
        for question in self._questions(best):
            excluded: list[frozenset[object]] = []
            for _ in range(places if question.equal or not trial.kept else 1):
                one = self._settle(replace(question, excluded=tuple(excluded)), trial)
                if one is None:
                    break
                excluded.append(name_of(one))
        if best is not None:
            bar = preferred(best, self.goal) * (1 - self.benefit)
            trial.kept = [one for one in trial.kept if preferred(one, self.goal) <= bar]
        return trial

    def _questions(self, best: Evaluation | None) -> Iterator[MixProblem]:
        below = self._below(best) if best is not None and self.goal.aim in MONEY else math.inf
        headrooms = HEADROOMS if self.goal.aim in (Aim.LATENCY, Aim.SPEED) else (1.0,)
        for equal in (True, False):  # one Service needs no Gateway, so it comes first
            for headroom in headrooms:
                yield MixProblem(
                    parts=self.parts,
                    plan=self.study.plan,
                    aim=self.goal.aim,
                    equal=equal,
                    most_types=self.most_types,
                    headroom=headroom,
                    below_usd_per_h=below,
                )

    def _settle(self, question: MixProblem, trial: Trial) -> Mix | None:
        """Solve, measure what is proposed, and solve again until the proposal holds."""
        if question.aim in MONEY and trial.kept and not question.excluded:
            cheapest = min(map(self._below, trial.kept))
            question = replace(question, below_usd_per_h=min(question.below_usd_per_h, cheapest))
        tries = TRIES
        while tries and self.fresh <= MOST_MEASURED:
            mix = solve(replace(question, parts=self.parts))
            if mix is None:
                return None
            unknown = [i for i, p in enumerate(self.parts) if self._is_new(i, p, mix)]
            if unknown:
                for index in unknown:
                    self._measure(index)
                continue
            if self._enter(mix, question, trial):
                return mix
            tries -= 1
        return None

    def _is_new(self, index: int, part: MixPart, mix: Mix) -> bool:
        return index not in self.measured and any(part is chosen for chosen, _ in mix)

    def _measure(self, index: int) -> None:
        """Find the largest rung at which one replica keeps every latency limit."""
        part = self.parts[index]
        self.measured.add(index)
        self.fresh += 1
        rung = bisect_left(
            range(len(RUNGS)), True, key=lambda i: self._keeps(part.replica, part.share * RUNGS[i])
        )
        share = RUNGS[rung] if rung < len(RUNGS) else 0.0
        self.study.carried[self._asked(part)] = share
        self.parts[index] = replace(part, share=part.share * share)

    def _asked(self, part: MixPart) -> tuple[object, ...]:
        """All that the largest rung of a part depends on: it is climbed by load, not by share."""
        one, plan = part.replica, self.study.plan
        return (
            *(one.shape.gpu, one.shape.key, one.limits, plan.slo),
            load_share(plan.workload, 1, part.share),
        )

    def _keeps(self, replica: Replica, share: float) -> bool:
        one = evaluate((Member(replica=replica, replicas=1, load_share=share),), self.study)
        stable = one.groups[0].report.stable
        return stable and misses_latency(one, self.study.plan, "p95") is None

    def _enter(self, mix: Mix, question: MixProblem, trial: Trial) -> bool:
        """Simulate a mix; on failure shrink the shares that it relied on."""
        broken: Broken | None = None
        for members in _splits(mix, question):
            evaluation = evaluate(members, self.study)
            broken = verdict(evaluation, members, self.study.plan)
            if broken is None:
                self._keep(evaluation, trial)
                return True
            trial.broken.append((evaluation, broken))
        chosen = {id(part) for part, _ in mix}
        self.parts = [
            replace(p, share=p.share * RUNGS[1] if p.share > CENT * RUNGS[1] else 0.0)
            if id(p) in chosen
            else p
            for p in self.parts
        ]
        return False

    def _keep(self, evaluation: Evaluation, trial: Trial) -> None:
        """One entry for one set of groups: of two ways to split the load, the better one."""
        for place, rival in enumerate(trial.kept):
            if identity(rival) == identity(evaluation):
                both = (rival, evaluation)
                trial.kept[place] = min(both, key=lambda e: rank_key(e, self.goal))
                return
        trial.kept.append(evaluation)


def _splits(mix: Mix, question: MixProblem) -> Iterator[tuple[Member, ...]]:
    """How the load may be split over a mix: evenly, or in proportion to what the groups carry."""
    total = sum(n for _, n in mix)
    if question.equal:
        yield tuple(
            Member(replica=part.replica, replicas=n, load_share=n / total) for part, n in mix
        )
        return
    if question.aim in (Aim.OUTPUT, Aim.CAPACITY):
        yield _weighted(mix, [n * part.replica.saturation_per_s for part, n in mix])
    yield _weighted(mix, [n * part.share for part, n in mix])


def _weighted(mix: Mix, weights: list[float]) -> tuple[Member, ...]:
    """Shares in thousandths that add up to one, each at least one thousandth."""
    whole = [max(1, int(THOUSANDTHS * w / sum(weights))) for w in weights]
    roomiest = max(range(len(whole)), key=lambda i: (weights[i], -i))
    whole[roomiest] += THOUSANDTHS - sum(whole)
    return tuple(
        Member(replica=part.replica, replicas=n, load_share=share / THOUSANDTHS)
        for (part, n), share in zip(mix, whole, strict=True)
    )


def _bill(one: Evaluation) -> float:
    """What a deployment costs in the money of the programme."""
    return sum(bill(g.pool, g.gpus_per_replica, g.replicas) for g in one.candidate.groups)
