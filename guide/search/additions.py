"""What to add where nothing fits: each GPU of the catalogue as one node more, or two, in the sizes
in which nodes are sold.

Options are tried from the cheapest; a GPU of which the largest option fails is done with, since a
smaller one holds no layout that a larger one does not. GPUs without a price come last, by count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from guide.domain import (
    Addition,
    Evaluation,
    Gpu,
    GpuPool,
    Inventory,
    Plan,
    Reason,
    Relaxation,
)
from guide.record import Record
from guide.search.evaluate import Study
from guide.search.explore import Ledger, Refusal, survey
from guide.search.fleet import cheapest
from guide.search.headroom import with_headroom
from guide.search.pricing import priced
from guide.search.relax import combined_relaxation, freest, relaxations
from guide.search.space import releases_of, shapes

NODES = (1, 2)
SOLD = (8,)  # GPUs a node where no seller is known
SHOWN = 3  # GPU types
TELLING = (  # what a miss says of how near a GPU comes, the most telling first
    {
        Reason.MISSES_TTFT,
        Reason.MISSES_TPOT,
        Reason.MISSES_E2E,
        Reason.MISSES_THROUGHPUT,
        Reason.MISSES_DEADLINE,
    },
    {Reason.UNSTABLE, Reason.OVER_BUDGET, Reason.NOT_ENOUGH_GPUS},
    {Reason.DOES_NOT_FIT},
)


class Option(Record, frozen=True, kw_only=True):
    """So many nodes with so many GPUs each."""

    gpu: Gpu
    per_node: int
    nodes: int
    usd_per_gpu_h: float | None

    @property
    def gpus(self) -> int:
        """GPUs over all nodes."""
        return self.nodes * self.per_node

    @property
    def usd_per_h(self) -> float | None:
        """Of the nodes that are added."""
        return None if self.usd_per_gpu_h is None else self.gpus * self.usd_per_gpu_h

    @property
    def order(self) -> tuple[bool, float, int, int, str]:
        """Cheapest first, unpriced last by count."""
        usd = self.usd_per_h
        return usd is None, usd or 0.0, self.gpus, self.nodes, self.gpu.name

    def added_to(self, inventory: Inventory, study: Study) -> Inventory:
        """The pools of this GPU, with the nodes beside or among them."""
        grown = self._grown(inventory)
        return priced(grown, study.catalog, study.plan.budget.billing)

    def _grown(self, inventory: Inventory) -> Inventory:
        mine = [p for p in inventory.pools if p.gpu is not None and p.gpu.name == self.gpu.name]
        new = (self.per_node,) * self.nodes
        for place, pool in enumerate(mine):
            if pool.gpus_per_node == self.per_node and not pool.shared:
                grown = replace(pool, free_gpus_by_node=(*pool.free_gpus_by_node, *new))
                return replace(inventory, pools=(*mine[:place], grown, *mine[place + 1 :]))
        added = GpuPool(
            name=f"added-{self.gpu.name.lower()}-x{self.per_node}",
            gpu=self.gpu,
            product=self.gpu.name,
            source="catalogue",
            resource=self.gpu.resource,
            gpus_per_node=self.per_node,
            free_gpus_by_node=new,
        )
        return replace(inventory, pools=(*mine, added))


class Tried(Struct):
    """What came of it: what works, what each GPU that does not was refused for, and by GPU whether
    its largest option may work.
    """

    works: list[Addition] = field(default_factory=list[Addition])
    refused: list[Refusal] = field(default_factory=list[Refusal])
    may_work: dict[str, bool] = field(default_factory=dict[str, bool])

    @property
    def nearest(self) -> Refusal | None:
        """The candidate that missed by least."""
        for reasons in (*TELLING, set(Reason)):
            able = [one for one in self.refused if one.broken.reason in reasons]
            if able:
                return min(able, key=lambda one: round(one.broken.margin, 4))  # as it is shown
        return None


def try_additions(study: Study, inventory: Inventory, *, helpless: bool) -> Tried:
    """The cheapest additions that keep every limit; where no change of the plan alone helps
    (`helpless`) and no addition does, one that does with some limits relaxed.
    """
    ready = tuple(
        r.framework
        for r in releases_of(study.plan, study.catalog)
        if r.framework not in study.plan.unready
    )
    plan = replace(study.plan, frameworks=ready) if ready else study.plan
    tried = _search(study.under(plan), inventory, SHOWN)
    if not tried.works and not plan.over_nodes:
        wide = study.under(replace(plan, over_nodes=True))
        tried.works = _search(wide, inventory, 1, tried.may_work).works
    if not tried.works and helpless:
        tried.works = _with_changes(study.under(plan), inventory)
    return tried


def _search(
    study: Study, inventory: Inventory, places: int, on_one_node: Mapping[str, bool] | None = None
) -> Tried:
    """Of a GPU that may not work `on_one_node`, what goes over several is all that is asked."""
    tried = Tried()
    options = sorted(_options(study, inventory), key=lambda option: option.order)
    largest = {o.gpu.name: o for o in sorted(options, key=lambda o: o.gpus)}
    done: set[str] = set()
    for option in options:
        name = option.gpu.name
        if name in done:
            continue
        if name not in tried.may_work:
            only_over = not (on_one_node or {}).get(name, True)
            found = _may_work(largest[name], study, inventory, tried, only_over=only_over)
            tried.may_work[name] = found
        if not tried.may_work[name]:
            continue
        pools = option.added_to(inventory, study)
        one = cheapest(study, survey(study, pools), Ledger())
        if one is not None:
            done.add(name)
            tried.works.append(_addition(option, with_headroom(one, study, pools), study.plan))
            if len(tried.works) == places:
                break
    return tried


def _may_work(
    option: Option, study: Study, inventory: Inventory, tried: Tried, *, only_over: bool
) -> bool:
    """Whether a bound leaves anything of the largest option of a GPU; else why not."""
    pools = option.added_to(inventory, study)
    among = None
    if only_over:
        among = [s for s in shapes(study.plan, pools, study.catalog) if s.nodes > 1]
    found = survey(study, pools, among)
    if found.prospects or (found.replicas and len(pools.pools) > 1):
        return True
    tried.refused += found.refusals
    return False


def _options(study: Study, inventory: Inventory) -> Iterator[Option]:
    plan, catalog = study.plan, study.catalog
    here = {p.gpu.name: p.price for p in inventory.pools if p.gpu is not None and p.price}
    for gpu in catalog.gpus.values():
        if plan.gpus and gpu.name not in plan.gpus:
            continue
        price = here.get(gpu.name) or catalog.prices.get(gpu.name)
        for per_node in catalog.node_sizes.get(gpu.name, SOLD):
            for nodes in NODES:
                usd = None if price is None else price.usd_per_gpu_h
                yield Option(gpu=gpu, per_node=per_node, nodes=nodes, usd_per_gpu_h=usd)


def _addition(
    option: Option, one: Evaluation, plan: Plan, changes: Sequence[Relaxation] = ()
) -> Addition:
    offered = plan.workload.requests_per_s
    most = None if one.job else one.predicted.requests_per_s
    if offered is not None:
        most = offered * (1 + (one.headroom or 0.0))
    return Addition(
        gpu=option.gpu.name,
        gpus_per_node=option.per_node,
        nodes=option.nodes,
        usd_per_h=option.usd_per_h,
        max_requests_per_s=most,
        over_nodes=plan.over_nodes,
        changes=tuple(changes),
    )


def _with_changes(study: Study, inventory: Inventory) -> list[Addition]:
    """The cheapest addition under the freest plan, with the changes that the plan then needs."""
    free = study.under(freest(study.plan))
    options = {(o.gpu.name, o.per_node, o.nodes): o for o in _options(study, inventory)}
    for one in _search(free, inventory, 1).works:
        option = options[one.gpu, one.gpus_per_node, one.nodes]
        pools = option.added_to(inventory, study)
        among = survey(study, pools).placeable
        single = relaxations(study, pools, among)
        changes = single[:1] or combined_relaxation(study, pools, among)
        if changes:
            return [replace(one, changes=changes)]
    return []
