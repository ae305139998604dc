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
from dataclasses import dataclass, field, replace

from guide.domain import Evaluation, Plan, Preference
from guide.search.bounds import Broken
from guide.search.evaluate import Member, Study, evaluate
from guide.search.explore import Ledger, Survey, hunt, leaders
from guide.search.mix_solver import Mix, MixProblem, Part, bill, name_of, solve
from guide.search.operating_point import Replica
from guide.search.rank import capacity_per_s, identity, rank_key
from guide.search.sizing import Trial, grade, misses_latency, most_replicas, verdict

RUNGS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)  # of the share by capacity
HEADROOMS = (1.0, 0.75, 0.5, 0.25)  # tried for latency: less load a replica, shorter queues
MOST_MEASURED = 48  # shapes simulated on the ladder for one question
THOUSANDTHS = 1000
TRIES = 6  # mixes that fail although each shape was measured: rounding, or a closed loop
CENT = 0.01


def search(
    study: Study,
    survey: Survey,
    preference: Preference,
    places: int,
    ledger: Ledger,
) -> list[Evaluation]:
    """The best `places` deployments: of one pool, and mixed ones when one of them can be best."""
    top = hunt(survey.prospects, study, preference, places, ledger)
    fleet = Fleet(study=study, preference=preference, parts=parts_of(survey, study.plan))
    best = top[0] if top else None
    if not fleet.may_win(best):
        return top
    ledger.add(fleet.trial(best, max(1, places - len(top))))
    return leaders(ledger, preference, places, study.plan.unready)


def parts_of(survey: Survey, plan: Plan) -> list[Part]:
    """The shapes that serve at their operating point, whatever the count that they would need."""
    found: list[Part] = []
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
            found.append(Part(replica=replica, most=most, share=share))
    return found


@dataclass(slots=True)
class Fleet:
    """The search for mixes of one question."""

    study: Study
    preference: Preference
    parts: list[Part]
    measured: set[int] = field(default_factory=set[int])  # indices of parts with their true share

    # --- whether it can matter, without any programme ---

    def may_win(self, best: Evaluation | None) -> bool:
        """Whether bounds leave room for a mix that beats `best`, the best of one pool."""
        by_pool: dict[str, list[Part]] = {}
        for part in self.parts:
            by_pool.setdefault(part.replica.shape.pool.name, []).append(part)
        pools = list(by_pool.values())
        if len(pools) < 2:
            return False
        if best is None:
            return sum(max(p.share * p.most for p in parts) for parts in pools) >= 1
        if self.preference is Preference.LATENCY:
            second = sorted(min(p.e2e_s for p in parts) for parts in pools)[1]
            return grade(second) < grade(best.predicted.e2e_interval.upper)
        if self.preference is Preference.THROUGHPUT:
            widest = sum(max(_width(p) for p in parts) for parts in pools)
            return grade(widest) > grade(capacity_per_s(best))
        limit = _bill(best)
        one_of_each = sorted(min(p.usd_per_h(1) for p in parts) for parts in pools)[:2]
        per_load = min(p.least_usd_per_h / p.share for p in self.parts)
        return max(sum(one_of_each), per_load) < limit - CENT

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
        return trial

    def _questions(self, best: Evaluation | None) -> Iterator[MixProblem]:
        below = math.inf
        if best is not None and self.preference is Preference.COST:
            below = _bill(best) - CENT
        headrooms = HEADROOMS if self.preference is Preference.LATENCY else (1.0,)
        for equal in (True, False):  # one Service needs no Gateway, so it comes first
            for headroom in headrooms:
                yield MixProblem(
                    parts=self.parts,
                    plan=self.study.plan,
                    preference=self.preference,
                    equal=equal,
                    headroom=headroom,
                    below_usd_per_h=below,
                )

    def _settle(self, question: MixProblem, trial: Trial) -> Mix | None:
        """Solve, measure what is proposed, and solve again until the proposal holds."""
        if question.preference is Preference.COST and trial.kept and not question.excluded:
            cheapest = min(_bill(one) for one in trial.kept)
            question = replace(question, below_usd_per_h=cheapest - CENT)
        tries = TRIES
        while tries and len(self.measured) <= MOST_MEASURED:
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

    def _is_new(self, index: int, part: Part, mix: Mix) -> bool:
        return index not in self.measured and any(part is chosen for chosen, _ in mix)

    def _measure(self, index: int) -> None:
        """Find the largest rung at which one replica keeps every latency limit."""
        part = self.parts[index]
        self.measured.add(index)
        rung = bisect_left(
            range(len(RUNGS)), True, key=lambda i: self._keeps(part.replica, part.share * RUNGS[i])
        )
        share = part.share * RUNGS[rung] if rung < len(RUNGS) else 0.0
        self.parts[index] = replace(part, share=share)

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
                trial.kept[place] = min(both, key=lambda e: rank_key(e, self.preference))
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
    if question.preference is Preference.THROUGHPUT:
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


def _width(part: Part) -> float:
    return part.replica.saturation_per_s * part.most


def _bill(one: Evaluation) -> float:
    """What a deployment costs in the money of the programme."""
    return sum(bill(g.pool, g.tp * g.pp, g.replicas) for g in one.candidate.groups)
