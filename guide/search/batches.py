"""The best batch of a replica, and what every other would do (paper P20).

Of an offline load every size is simulated, and the smallest that ends about as soon as any is
taken. Elsewhere the curve is that of replicas whose batch is always full, and its knee is taken
where nobody who asks would notice.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from msgspec.structs import replace

from guide.domain import BatchPoint, Evaluation, Workload
from guide.perf.adjust import mean_context_tokens
from guide.search.evaluate import Member, Study, evaluate, load_share
from guide.search.explore import Ledger
from guide.search.goal import KNEE
from guide.search.knobs import verdict
from guide.search.operating_point import Replica, with_batch
from guide.search.rank import NOTICED, identity, merits
from guide.search.sizing import Prospect, pace_s
from guide.simulate.capacity import largest_batch, request_tokens


def knee(sizes: Sequence[int], rates: Sequence[float]) -> int | None:
    """The smallest batch whose throughput no other exceeds by more than 5 %."""
    pairs = zip(sizes, rates, strict=True)
    return next((size for size, rate in pairs if rate * KNEE >= max(rates) > 0), None)


def best_batch(
    one: Evaluation, prospects: Sequence[Prospect], study: Study, ledger: Ledger
) -> tuple[Evaluation, tuple[BatchPoint, ...]]:
    """The same layout with its best batch, and the curve over all sizes."""
    group = one.groups[0].group
    found = next((p.replica for p in prospects if p.replica.shape.key == group.key), None)
    if found is None or len(one.groups) > 1:
        return one, ()
    if study.plan.workload.offline is not None:
        return _soonest(one, found, study, ledger)
    return _at_the_knee(one, found, study, ledger)


def _soonest(
    one: Evaluation, found: Replica, study: Study, ledger: Ledger
) -> tuple[Evaluation, tuple[BatchPoint, ...]]:
    """The smallest batch that ends within 2 % of the soonest: where nobody waits for an answer a
    larger one only takes memory.
    """
    group = one.groups[0].group
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
    return one, tuple(map(_of_a_job, tried))


def _at_the_knee(
    one: Evaluation, found: Replica, study: Study, ledger: Ledger
) -> tuple[Evaluation, tuple[BatchPoint, ...]]:
    """The knee of the throughput, unless a limit has chosen the batch or chunk already, a user of a
    closed loop would stand outside, or some latency grew by what a measurement could show.
    """
    item, workload = one.groups[0], study.plan.workload
    group, largest = item.group, found.limits
    own = replace(found, limits=group.limits)
    sizes = (*found.smaller, largest.max_num_seqs)
    as_found = replace(study.plan, workload=workload.as_found(item.report.hit_share))
    each = [with_batch(own, size, as_found, study.catalog) for size in sizes]
    points = tuple(_always_full(replica, group.replicas, workload) for replica in each)
    best = knee(sizes, [point.output_tokens_per_s for point in points])
    users = load_share(workload, group.replicas).concurrency or 1
    taken = bisect_left(sizes, max(best or 1, users))
    if group.limits == largest and taken < len(sizes) - 1:
        members = [Member(replica=each[taken], replicas=group.replicas)]
        other = evaluate(members, study)
        alike = all(
            theirs <= mine * (1 + NOTICED)
            for theirs, mine in zip(merits(other)[:-1], merits(one)[:-1], strict=True)
        )  # the last is the capacity, of which a knee gives up some
        if alike and verdict(other, members, study.plan) is None:
            ledger.kept[identity(other)] = other
            one = other
    return one, points


def _with(replica: Replica, size: int, replicas: int, study: Study) -> Evaluation:
    smaller = with_batch(replica, size, study.plan, study.catalog)
    return evaluate([Member(replica=smaller, replicas=replicas)], study)


def _of_a_job(one: Evaluation) -> BatchPoint:
    assert one.job is not None
    item = one.groups[0]
    return BatchPoint(
        max_num_seqs=item.group.limits.max_num_seqs,
        job_s=one.job.seconds,
        output_tokens_per_s=one.predicted.output_tokens_per_s,
        tpot_s=one.predicted.tpot.mean_s,
        kv_peak_share=item.report.kv_peak_share,
    )


def _always_full(replica: Replica, replicas: int, workload: Workload) -> BatchPoint:
    """By Little's law a request stays for the batch over the rate; the cache holds a mean request
    of each sequence.
    """
    prompt, output = workload.prompt.mean_tokens, workload.output.mean_tokens
    batch = largest_batch(replica.group(1), replica.memory, workload)
    held = batch * mean_context_tokens(prompt, output)
    e2e_s = batch / replica.saturation_per_s
    return BatchPoint(
        max_num_seqs=replica.limits.max_num_seqs,
        e2e_s=e2e_s,
        output_tokens_per_s=replica.saturation_per_s * output * replicas,
        tpot_s=e2e_s / max(1.0, output),
        kv_peak_share=min(1.0, held / replica.memory.held_tokens(request_tokens(workload))),
    )
