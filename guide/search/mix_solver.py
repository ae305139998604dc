"""The mixed-integer programme behind mixed fleets: how many replicas of which shape on which pool.

Variables, for every part t (a shape on its pool): n_t replicas, y_t whether it is used, and i_t
billed instances where whole instances are billed. A pool carries at most one shape.

    sum n_t f_t >= 1            f_t: the share of the load that a replica carries in its limits
    sum n_s     >= y_t / f_t    instead, when every replica gets the same share (one Service)
    sum of bills <= budget,  sum of GPUs <= budget,  at least two pools,  sum n_t >= what is asked

Minimised: the bill, or the slowest empty-server time, by preference; or the throughput maximised.
HiGHS solves it; the library is imported only when a programme is solved.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from guide.domain import GpuPool, Plan
from guide.record import Record
from guide.search.goal import Aim
from guide.search.operating_point import Replica, half_width
from guide.search.pricing import usd_per_h

if TYPE_CHECKING:
    from highspy import Highs

UNPRICED_USD = 1e4  # per GPU hour in the objective: pools without a price come after all others
PER_GPU_USD = 1e-4  # breaks ties of the bill
MONEY = (Aim.COST, Aim.EFFICIENCY)
MARGIN = 1.002  # room for shares in thousandths, as the weights of an HTTPRoute are


class MixPart(Record, frozen=True, kw_only=True):
    """A shape as a fleet may use it; `share` is the part of the load that a replica carries."""

    replica: Replica
    most: int
    share: float

    @property
    def e2e_s(self) -> float:
        """End-to-end time on an empty server at the upper end of its interval."""
        return self.replica.zero_load_e2e_s * math.exp(half_width(self.replica.fit, "e2e"))

    @property
    def least_usd_per_h(self) -> float:
        """The bill of one replica if only the GPUs that it uses were billed."""
        return least_usd_per_h(self.replica.shape.pool, self.replica.shape.gpus)

    @property
    def widest_per_s(self) -> float:
        """Requests/s of all replicas that it may have."""
        return self.replica.saturation_per_s * self.most

    def usd_per_h(self, replicas: int) -> float:
        """The bill of so many replicas, in the money of the objective."""
        return bill(self.replica.shape.pool, self.replica.shape.gpus, replicas)


Mix = tuple[tuple[MixPart, int], ...]


class MixProblem(Record, frozen=True, kw_only=True):
    """One programme: what is minimised, how traffic is split, and what must not come again."""

    parts: Sequence[MixPart]
    plan: Plan
    aim: Aim
    equal: bool  # the same share for every replica
    headroom: float = 1.0  # part of f_t that may be used; less makes queues shorter
    below_usd_per_h: float = math.inf  # only what costs less is of interest
    most_types: int | None = None  # GPU types in one mix
    excluded: Sequence[frozenset[Any]] = ()  # identities of the shapes of earlier answers


def bill(pool: GpuPool, gpus: int, replicas: int) -> float:
    """Dollars per hour of replicas of so many GPUs; a prohibitive sum where no price is known."""
    usd = usd_per_h(pool, gpus, replicas)
    return UNPRICED_USD * gpus * replicas if usd is None else usd


def least_usd_per_h(pool: GpuPool, gpus: int) -> float:
    """The price of so many GPUs if idle ones were free, in the money of the objective."""
    return gpus * (UNPRICED_USD if pool.price is None else pool.price.usd_per_gpu_h)


def solve(question: MixProblem) -> Mix | None:
    """The best mix of at least two pools, or None when there is none."""
    parts = _worth(question)
    if len({part.replica.shape.pool.name for part in parts}) < 2 or not _may_carry(question, parts):
        return None
    import highspy

    model = highspy.Highs()
    model.silent()
    model.setOptionValue("threads", 1)
    counts = [model.addIntegral(0, part.most) for part in parts]
    used = [model.addBinary() for _ in parts]
    bills = [_bill(model, part, n) for part, n in zip(parts, counts, strict=True)]
    for part, n, y in zip(parts, counts, used, strict=True):
        model.addConstr(n <= part.most * y)
        model.addConstr(n >= y)
    _pools(model, parts, used)
    if question.most_types is not None:
        _types(model, parts, used, question.most_types)
    _load(model, question, parts, counts, used)
    _budget(model, question, parts, counts, bills)
    for shapes in question.excluded:
        again = [y for p, y in zip(parts, used, strict=True) if _name(p) in shapes]
        if len(again) == len(shapes):
            model.addConstr(_sum(again) <= len(shapes) - 1)
    _optimise(model, question, parts, counts=counts, used=used, bills=bills)
    if model.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    found = ((p, round(model.val(n))) for p, n in zip(parts, counts, strict=True))
    return tuple(sorted(((part, n) for part, n in found if n), key=lambda pair: _name(pair[0])))


def _worth(question: MixProblem) -> list[MixPart]:
    """Leave out what another shape of the same size on the same pool replaces in every respect."""

    def merits(part: MixPart) -> tuple[float, ...]:
        if question.aim in (Aim.LATENCY, Aim.SPEED):
            return part.share, -part.e2e_s
        if question.aim in (Aim.OUTPUT, Aim.CAPACITY):
            return part.share, part.replica.saturation_per_s
        return (part.share,)

    by_size: dict[tuple[str, int], list[MixPart]] = {}
    for part in sorted(question.parts, key=lambda p: (merits(p), _name(p)), reverse=True):
        if part.share <= 0 or part.most <= 0:
            continue
        rivals = by_size.setdefault((part.replica.shape.pool.name, part.replica.shape.gpus), [])
        mine = merits(part)
        if not any(all(a >= b for a, b in zip(merits(r), mine, strict=True)) for r in rivals):
            rivals.append(part)
    return [part for rivals in by_size.values() for part in rivals]


def _may_carry(question: MixProblem, parts: Sequence[MixPart]) -> bool:
    """Whether the load could be carried if GPUs and dollars were divisible: HiGHS takes a second to
    find that it cannot.
    """
    by_type: dict[str, dict[str, float]] = {}
    for part in parts:
        shape = part.replica.shape
        pools = by_type.setdefault(shape.gpu.name, {})
        pools[shape.pool.name] = max(pools.get(shape.pool.name, 0), part.share * part.most)
    widest = sorted((sum(pools.values()) for pools in by_type.values()), reverse=True)
    if question.equal and not _may_share(question, parts):
        return False
    budget = question.plan.budget
    usd = min(question.below_usd_per_h, budget.max_usd_per_h or math.inf)
    gpus = budget.max_gpus or math.inf
    return (
        question.headroom
        * min(
            sum(widest[: question.most_types]),
            max(gpus * p.share / p.replica.shape.gpus for p in parts),
            max(usd * p.share / max(p.least_usd_per_h, 1e-9) for p in parts),
        )
        >= 1
    )


def _may_share(question: MixProblem, parts: Sequence[MixPart]) -> bool:
    """Whether equal shares may do: the weakest replica of a mix must carry its share, so as many
    replicas as that takes must find room, none of them weaker.
    """
    by_type: dict[str, dict[str, int]] = {}
    for part in sorted(parts, key=lambda p: -p.share):
        shape = part.replica.shape
        pools = by_type.setdefault(shape.gpu.name, {})
        pools[shape.pool.name] = max(pools.get(shape.pool.name, 0), part.most)
        most = sorted((sum(pools.values()) for pools in by_type.values()), reverse=True)
        if question.headroom * part.share * sum(most[: question.most_types]) >= 1 - 1e-9:
            return True
    return False


def name_of(mix: Mix) -> frozenset[Any]:
    """What tells two mixes apart, whatever their counts."""
    return frozenset(_name(part) for part, _ in mix)


def _name(part: MixPart) -> Any:
    return part.replica.shape.key


def _sum(terms: Iterable[Any]) -> Any:
    total: Any = 0
    for term in terms:
        total = term + total
    return total


def _bill(model: Highs, part: MixPart, n: Any) -> Any:
    """Dollars per hour as a linear term: whole instances where several replicas share one."""
    pool, gpus = part.replica.shape.pool, part.replica.shape.gpus
    together = pool.price.billed_gpus // gpus if pool.price is not None else 0
    if together <= 1:
        return part.usd_per_h(1) * n
    instances = model.addIntegral(0, math.ceil(part.most / together))
    model.addConstr(together * instances >= n)
    return part.usd_per_h(1) * instances


def _by_pool(parts: Sequence[MixPart], terms: Sequence[Any]) -> Iterable[list[Any]]:
    """Terms of the parts of each pool."""
    by_pool: dict[str, list[Any]] = {}
    for part, term in zip(parts, terms, strict=True):
        by_pool.setdefault(part.replica.shape.pool.name, []).append(term)
    return by_pool.values()


def _pools(model: Highs, parts: Sequence[MixPart], used: Sequence[Any]) -> None:
    for choices in _by_pool(parts, used):
        model.addConstr(_sum(choices) <= 1)
    model.addConstr(_sum(used) >= 2)


def _types(model: Highs, parts: Sequence[MixPart], used: Sequence[Any], most: int) -> None:
    names = sorted({part.replica.shape.gpu.name for part in parts})
    if len(names) <= most:
        return
    types = {name: model.addBinary() for name in names}
    for part, y in zip(parts, used, strict=True):
        model.addConstr(types[part.replica.shape.gpu.name] >= y)
    model.addConstr(_sum(types.values()) <= most)


def _load(
    model: Highs,
    question: MixProblem,
    parts: Sequence[MixPart],
    counts: Sequence[Any],
    used: Sequence[Any],
) -> None:
    shares = [part.share * question.headroom for part in parts]
    if question.equal:  # one shape a pool: a row for all of them says more than a row for each
        total = _sum(counts)
        needed = [y * (1 / share) for share, y in zip(shares, used, strict=True)]
        for one in _by_pool(parts, needed):
            model.addConstr(total >= _sum(one))
    else:
        model.addConstr(_sum(s * n for s, n in zip(shares, counts, strict=True)) >= MARGIN)


def _budget(
    model: Highs,
    question: MixProblem,
    parts: Sequence[MixPart],
    counts: Sequence[Any],
    bills: Sequence[Any],
) -> None:
    plan = question.plan
    budget, users, need = plan.budget, plan.workload.concurrency, plan.slo.min_output_tokens_per_s
    if plan.min_replicas > 1:
        model.addConstr(_sum(counts) >= plan.min_replicas)
    if users is not None:  # a replica without a user of its own serves nobody
        model.addConstr(_sum(counts) <= max(users, plan.min_replicas))
    if users is not None and need is not None:
        rates = (p.replica.capacity_per_s * n for p, n in zip(parts, counts, strict=True))
        model.addConstr(_sum(rates) >= need / plan.workload.output.mean_tokens)
    if budget.max_usd_per_h is not None:
        model.addConstr(_sum(bills) <= budget.max_usd_per_h)
    if question.below_usd_per_h < math.inf:
        model.addConstr(_money(question, parts, counts, bills) <= question.below_usd_per_h)
    if budget.max_gpus is not None:
        gpus = (p.replica.shape.gpus * n for p, n in zip(parts, counts, strict=True))
        model.addConstr(_sum(gpus) <= budget.max_gpus)


def _money(
    question: MixProblem, parts: Sequence[MixPart], counts: Sequence[Any], bills: Sequence[Any]
) -> Any:
    """What is minimised where money is: the bill, or the price of the GPUs that work."""
    if question.aim is not Aim.EFFICIENCY:
        return _sum(bills)
    return _sum(p.least_usd_per_h * n for p, n in zip(parts, counts, strict=True))


def _optimise(
    model: Highs,
    question: MixProblem,
    parts: Sequence[MixPart],
    *,
    counts: Sequence[Any],
    used: Sequence[Any],
    bills: Sequence[Any],
) -> None:
    gpus = _sum(p.replica.shape.gpus * n for p, n in zip(parts, counts, strict=True))
    money = _money(question, parts, counts, bills) + PER_GPU_USD * gpus
    if question.aim in MONEY:
        model.minimize(money)
    elif question.aim in (Aim.LATENCY, Aim.SPEED):
        slowest = model.addVariable(0)
        for one in _by_pool(parts, [p.e2e_s * y for p, y in zip(parts, used, strict=True)]):
            model.addConstr(slowest >= _sum(one))
        scale = 1e-4 * min(p.e2e_s for p in parts) / max(p.usd_per_h(p.most) for p in parts)
        model.minimize(slowest + scale * money)
    elif question.equal:  # the weakest replica limits all
        total, most = _sum(counts), sum(p.most for p in parts)
        width = model.addVariable(0)
        for part, y in zip(parts, used, strict=True):
            rate = part.replica.saturation_per_s
            free = max(p.replica.saturation_per_s for p in parts) * most
            model.addConstr(width <= rate * total + free * (1 - y))
        model.maximize(width)
    else:
        rates = (p.replica.saturation_per_s * n for p, n in zip(parts, counts, strict=True))
        model.maximize(_sum(rates))
