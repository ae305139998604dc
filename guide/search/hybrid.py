"""The paper's parallel simulator (3.4, 3.5): one batch of requests on every hybrid-parallel layout.

A static batch is dealt out over the replicas (data parallelism); a data-parallel group waits for
its slowest GPU. The GPUs of a replica share each task and pay for their transfers (tensor
parallelism), and stages hold parts of the batch (pipeline parallelism). Shapes, limits, memory and
step times are those that `guide.search.recommend` uses for open and closed loads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from guide.domain import Catalog, Inventory, MemoryFit, ReplicaGroup
from guide.record import Record
from guide.search.evaluate import Study
from guide.search.explore import survey
from guide.search.pricing import group_usd_per_h, priced
from guide.search.space import Configuration, get_configurations
from guide.simulate.batch import Batch, BatchReport, serve_batch


class HybridReport(Record, frozen=True, kw_only=True):
    """One layout under one batch; `parts` are its groups, each with its share of the requests."""

    batch: Batch
    groups: tuple[ReplicaGroup, ...]
    parts: tuple[BatchReport, ...]
    usd_per_h: float | None

    @property
    def total_s(self) -> float:
        """Total execution time: the slowest group decides."""
        return max(part.batch_latency_s for part in self.parts)

    @property
    def ttft_s(self) -> float:
        """Until every request of every group has its first token."""
        return max(part.ttft_s for part in self.parts)

    @property
    def output_tokens_per_s(self) -> float:
        """Output tokens of the whole batch over its total time."""
        served = min(part.served / part.requests for part in self.parts)
        return self.batch.requests * served * self.batch.output_tokens / self.total_s


def simulate_hybrid_parallel(
    groups: Sequence[tuple[ReplicaGroup, MemoryFit]], batch: Batch, catalog: Catalog
) -> HybridReport:
    """Run `batch` on all replicas of `groups` at once (P12).

    Each group takes its load share; its busiest replica takes what does not divide.
    """
    parts: list[BatchReport] = []
    for group, memory in groups:
        requests = math.ceil(batch.requests * group.load_share / group.replicas - 1e-9)
        share = Batch(
            requests=max(1, requests),
            prompt_tokens=batch.prompt_tokens,
            output_tokens=batch.output_tokens,
        )
        parts.append(serve_batch(group, memory, share, catalog))
    return HybridReport(
        batch=batch,
        groups=tuple(group for group, _ in groups),
        parts=tuple(parts),
        usd_per_h=group_usd_per_h(group for group, _ in groups),
    )


def simulate_task_execution(
    study: Study, inventory: Inventory, batch: Batch, places: int = 3
) -> list[HybridReport]:
    """The layouts that finish `batch` soonest, within the plan's budget; the first is best (P12).

    Of equal times the fewer GPUs win. More replicas than requests are left out: they would idle.
    """
    budget = study.plan.budget
    inventory = priced(inventory, study.catalog, budget.billing)
    fits = {r.shape.key: r for r in survey(study, inventory).replicas}
    found: list[HybridReport] = []
    for replica in fits.values():
        shape = replica.shape
        if shape.ep > 1:  # the paper knows no other degree than DP, TP and PP
            continue
        for layout in get_configurations(shape.pool, budget.max_gpus):
            if (layout.tp, layout.pp) != (shape.tp, shape.pp) or not _useful(layout, batch):
                continue
            group = replica.group(layout.dp)
            usd = group_usd_per_h((group,))
            limit = budget.max_usd_per_h
            if limit is not None and (usd is None or usd > limit):
                continue
            found.append(simulate_hybrid_parallel([(group, replica.memory)], batch, study.catalog))
    found.sort(key=lambda one: (one.total_s, one.groups[0].gpus, repr(one.groups[0])))
    return found[:places]


def _useful(layout: Configuration, batch: Batch) -> bool:
    """Another replica must shorten the busiest one's share of the batch."""
    share = math.ceil(batch.requests / layout.dp)
    return layout.dp == 1 or share < math.ceil(batch.requests / (layout.dp - 1))
