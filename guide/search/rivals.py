"""The best deployment of each other framework, and what its steps take beside those of the best."""

from __future__ import annotations

from guide.domain import Catalog, Evaluation, GroupEvaluation, Rival, Workload
from guide.perf.roofline import typical_decode
from guide.search.evaluate import Study
from guide.search.explore import Ledger, Survey, hunt
from guide.search.goal import Goal
from guide.search.space import releases_of
from guide.simulate.capacity import layout_cost


def rivals(best: Evaluation, found: Survey, goal: Goal, study: Study) -> tuple[Rival, ...]:
    """One of each framework that keeps every limit; frameworks without an image do not count, and
    a mix has no single step to compare.

    They are looked for apart, so that nothing else of the answer changes by them.
    """
    plan, catalog = study.plan, study.catalog
    mine = best.groups[0]
    if len(best.groups) > 1:
        return ()
    own = mine.group.framework
    names = {release.framework for release in releases_of(plan, catalog)} - {own, *plan.unready}
    beside: list[Rival] = []
    for name in sorted(names):
        prospects = [p for p in found.prospects if p.replica.shape.release.framework == name]
        for one in hunt(prospects, study, goal, 1, Ledger()):
            other = one.groups[0]
            beside.append(
                Rival(
                    evaluation=one,
                    decode_step_s=_step_s(other, other, plan.workload, catalog),
                    same_batch_step_s=_step_s(other, mine, plan.workload, catalog),
                    best_step_s=_step_s(mine, mine, plan.workload, catalog),
                )
            )
    return tuple(beside)


def _step_s(
    item: GroupEvaluation, batch_of: GroupEvaluation, workload: Workload, catalog: Catalog
) -> float:
    """Seconds of a decode step of `item` with the mean batch of another."""
    shape = typical_decode(item.group, batch_of.report, workload)
    cost, _ = layout_cost(item.group, catalog)
    return cost.decode_run(
        1,
        max(1, round(shape.decode_sequences)),
        shape.decode_context_tokens,
        shape.decode_window_tokens,
    )
