"""The best batch of an offline job, and what every other would do (paper P20)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from guide.domain import BatchPoint, Evaluation
from guide.search.evaluate import Member, Study, evaluate, load_share
from guide.search.explore import Ledger
from guide.search.knobs import verdict
from guide.search.operating_point import Replica, with_batch
from guide.search.rank import NOTICED, identity
from guide.search.sizing import Prospect, pace_s


def best_batch(
    one: Evaluation, prospects: Sequence[Prospect], study: Study, ledger: Ledger
) -> tuple[Evaluation, tuple[BatchPoint, ...]]:
    """The same layout with the smallest batch that ends within 2 % of the soonest: where nobody
    waits for an answer a larger one only takes memory. Also the curve over all batches.
    """
    group = one.groups[0].group
    found = next((p.replica for p in prospects if p.replica.shape.key == group.key), None)
    if study.plan.workload.offline is None or found is None:
        return one, ()
    share = load_share(study.plan.workload, group.replicas).offline or 1
    enough = bisect_left(found.smaller, share) + 1  # no larger batch is ever filled
    tried = [_with(found, size, group.replicas, study) for size in found.smaller[:enough]]
    tried.append(one)
    soonest = min(map(pace_s, tried))
    chosen = next(each for each in tried if pace_s(each) <= (1 + NOTICED) * soonest)
    members = [Member(replica=found, replicas=group.replicas)]
    if chosen is not one and verdict(chosen, members, study.plan) is None:
        ledger.kept[identity(chosen)] = chosen
        one = chosen
    return one, tuple(map(_point, tried))


def _with(replica: Replica, size: int, replicas: int, study: Study) -> Evaluation:
    smaller = with_batch(replica, size, study.plan, study.catalog)
    return evaluate([Member(replica=smaller, replicas=replicas)], study)


def _point(one: Evaluation) -> BatchPoint:
    assert one.job is not None
    item = one.groups[0]
    return BatchPoint(
        max_num_seqs=item.group.limits.max_num_seqs,
        job_s=one.job.seconds,
        output_tokens_per_s=one.predicted.output_tokens_per_s,
        tpot_s=one.predicted.tpot.mean_s,
        kv_peak_share=item.report.kv_peak_share,
    )
