"""The cheapest two pools that keep every limit: one computes prompts, the other decodes.

Each side is sized by the same simulation as any deployment, under the part of a request that it
has. In the prefill pool each request ends with its first token. In the decode pool each prompt is
there but for its last block, whose pass gives the first token that a client sees.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import product

from msgspec.structs import replace

from guide.domain import (
    Evaluation,
    HalfPool,
    Latency,
    LayoutKey,
    Lengths,
    Plan,
    Route,
    Scheduling,
    TwoPools,
)
from guide.frameworks import FRAMEWORKS
from guide.record import Record
from guide.search.bounds import over_budget
from guide.search.evaluate import Study
from guide.search.handover import Handover, long_tokens
from guide.search.operating_point import Replica, with_batch, with_mixed_chunk
from guide.search.pricing import packed_bill
from guide.search.sizing import Attempt, Prospect, prospect

NEAR_COUNTS, GROWTH = 3, 1.5  # of decode replicas that are tried: the fewest, then by factors
Size = tuple[float, int]  # of a deployment: its bill, else its GPUs


def prefill_plan(plan: Plan) -> Plan:
    """The question to the prefill pool: every request ends with its first token."""
    slo, load = plan.slo, plan.workload
    tokens_per_s = slo.min_output_tokens_per_s
    return replace(
        plan,
        workload=replace(load, output=Lengths(mean_tokens=1, p95_tokens=1), max_output_tokens=1),
        slo=replace(
            slo,
            tpot_p95_s=None,
            e2e_p95_s=None,
            min_output_tokens_per_s=tokens_per_s and tokens_per_s / load.output.mean_tokens,
        ),
    )


def decode_plan(plan: Plan) -> Plan:
    """The question to the decode pool: the cache of every prompt is there."""
    return replace(plan, workload=replace(plan.workload, prefix_hit_share=1.0))


def separable(replica: Replica) -> bool:
    """Whether two pools of such replicas are modelled: frameworks that hand a cache over, one batch
    a step, one node a replica, layers that keep every token."""
    shape = replica.shape
    return (
        FRAMEWORKS[shape.release.framework].hands_over_cache
        and shape.key.one_batch
        and shape.nodes == 1
        and replica.memory.pool is None
        and not shape.pool.shared
    )


class Half(Record, frozen=True):
    """A replica as it would serve one of the two pools, under the question of that pool."""

    found: Prospect
    study: Study

    @property
    def replica(self) -> Replica:
        """One of its replicas."""
        return self.found.replica

    def smallest(self, limit_s: float = math.inf, least: int = 1) -> tuple[int, Evaluation] | None:
        """The fewest replicas, at least so many, that keep every limit of this half and give a
        first token within `limit_s`."""
        plan, found = self.study.plan, self.found
        if limit_s <= 0 or least > found.most:
            return None
        limit = None if math.isinf(limit_s) else limit_s
        under = self.study.under(replace(plan, slo=replace(plan.slo, ttft_p95_s=limit)))
        fewest = replace(found, fewest=max(least, found.fewest))
        tries = Attempt(found=fewest, study=under)
        if not tries.smallest(found.most):
            return None
        return min(((n, one) for n, one in tries.tried.items() if one), key=lambda pair: pair[0])


def halves(replicas: Iterable[Replica], study: Study) -> Iterator[tuple[Half, Half]]:
    """Pairs of a prefill and a decode replica that may work together: of one pool of GPUs, with the
    same checkpoint, precision and cache, and TP of the second a multiple of that of the first, so
    that each of its GPUs takes its slice from one."""
    sides: dict[LayoutKey, tuple[list[Half], list[Half]]] = {}
    asked = study.under(prefill_plan(study.plan)), study.under(decode_plan(study.plan))
    for replica in filter(separable, replicas):
        alike = replica.shape.key._replace(tp=1, ep=1)
        both = sides.setdefault(alike, ([], []))
        for one, under, side in zip((replica, _joining(replica)), asked, both, strict=True):
            as_asked = with_batch(one, one.limits.max_num_seqs, under.plan, under.catalog)
            found = prospect(as_asked, under.plan)
            side += [Half(found, under)] if isinstance(found, Prospect) else []
    for prefills, decodes in sides.values():
        for prefill, decode in product(prefills, decodes):
            if decode.replica.shape.tp % prefill.replica.shape.tp == 0:
                yield prefill, decode


def _joining(replica: Replica) -> Replica:
    """A decode replica: what arrives with its cache joins the next step of decodes, also where
    prompts have steps of their own."""
    alone = replica.shape.release.scheduling is Scheduling.PREFILL_OR_DECODE
    return with_mixed_chunk(replica) if alone else replica


def cheapest(replicas: Iterable[Replica], study: Study) -> TwoPools | None:
    """The two pools of the smallest bill (of the fewest GPUs where none is known) that keep every
    limit; None where there are none.

    Pairs are taken in the order of the bill of their fewest replicas, which nothing beats.
    """
    pairs = [(_fewest(*pair), pair) for pair in halves(replicas, study)]
    best: TwoPools | None = None
    for least, pair in sorted(pairs, key=lambda each: each[0]):
        if best is not None and least > size_of(best):
            break
        for found in _settled(*pair, study.plan, best):
            if best is None or _rank(found) < _rank(best):
                best = found
    return best


def size_of(one: TwoPools) -> Size:
    """By what two pools are small."""
    return (math.inf if one.usd_per_h is None else one.usd_per_h, one.gpus)


def _rank(one: TwoPools) -> tuple[float, int, float]:
    return (*size_of(one), one.e2e.upper_s)


def _fewest(prefill: Half, decode: Half) -> Size:
    return _size(prefill, prefill.found.fewest, decode, decode.found.fewest)


def _size(prefill: Half, prefills: int, decode: Half, decodes: int) -> Size:
    a, b = prefill.replica.shape, decode.replica.shape
    _, usd = packed_bill(a.pool, (a.gpus, prefills), (b.gpus, decodes))
    return (math.inf if usd is None else usd, prefills * a.gpus + decodes * b.gpus)


def _settled(prefill: Half, decode: Half, plan: Plan, best: TwoPools | None) -> Iterator[TwoPools]:
    """Two pools of these replicas that keep every limit, from the fewest decode replicas up, as
    long as they may be smaller than `best`."""
    limit = plan.slo
    first = decode.smallest(limit.ttft_p95_s or math.inf)
    if first is None:
        return
    bar = None if best is None else size_of(best)
    for count in _counts(first[0], decode.found.most):
        if bar is not None and _size(prefill, prefill.found.fewest, decode, count) > bar:
            return
        after = first if count == first[0] else decode.smallest(limit.ttft_p95_s or math.inf, count)
        if after is None:
            return
        ways = (_beside(prefill, decode, after, route, plan) for route in Route)
        found = next((one for one in ways if one), None)  # the link first: none is faster
        if found is not None:
            bar = min(bar or size_of(found), size_of(found))
            yield found


def _counts(fewest: int, most: int) -> Iterator[int]:
    """Counts of decode replicas worth a try."""
    count = float(fewest)
    while count <= most:
        yield int(count)
        count = count + 1 if count < fewest + NEAR_COUNTS - 1 else math.ceil(GROWTH * count)


def _beside(
    prefill: Half, decode: Half, after: tuple[int, Evaluation], route: Route, plan: Plan
) -> TwoPools | None:
    """So many decode replicas with the fewest prefill replicas that leave every limit kept, over
    one route; None where there are none."""
    decodes, decoded = after
    way = Handover(prefill.replica, decode.replica, route, plan)
    least = way.fewest_senders(decodes)
    if least is None:
        return None
    moved_s = way.seconds(max(least, prefill.found.fewest), decodes)
    p, slo = decoded.predicted, plan.slo
    left_s = min(
        (slo.ttft_p95_s or math.inf) - moved_s - p.ttft_interval.upper,
        (slo.e2e_p95_s or math.inf) - moved_s - p.e2e_interval.upper,
    )
    before = prefill.smallest(left_s, least)
    if before is None:
        return None
    prefills, computed = before
    shape, other = prefill.replica.shape, decode.replica.shape
    parts = (shape.gpus, prefills), (other.gpus, decodes)
    if not way.has_room(*parts):
        return None
    moved_s = way.seconds(prefills, decodes)
    if not (_room(computed, moved_s, plan) and _room(decoded, moved_s, plan)):
        return None
    gpus_billed, usd = packed_bill(shape.pool, *parts)
    if over_budget(plan, sum(gpus * count for gpus, count in parts), usd):
        return None
    q = computed.predicted
    return TwoPools(
        prefill=_half_pool(computed),
        decode=_half_pool(decoded),
        route=route,
        kv_bytes_per_token=way.bytes_per_token,
        transfer_bytes=way.long_bytes,
        transfer_s=moved_s,
        route_busy_share=way.busy(prefills, decodes),
        ttft=Latency(
            p95_s=q.ttft.p95_s + moved_s + p.ttft.p95_s,
            upper_s=q.ttft_interval.upper + moved_s + p.ttft_interval.upper,
        ),
        tpot=Latency(p95_s=p.tpot.p95_s, upper_s=p.tpot_interval.upper),
        e2e=Latency(
            p95_s=q.ttft.p95_s + moved_s + p.e2e.p95_s,
            upper_s=q.ttft_interval.upper + moved_s + p.e2e_interval.upper,
        ),
        gpus_billed=gpus_billed,
        usd_per_h=usd,
    )


def _room(one: Evaluation, moved_s: float, plan: Plan) -> bool:
    """Whether the cache also holds what is on its way, which the simulation of a half leaves out:
    it is taken on both sides until a transfer ends. By Little's law, and never less than one long
    prompt."""
    (item,) = one.groups
    load, longest = plan.workload, item.group.limits.max_model_len
    on_its_way = (load.requests_per_s or 0.0) / item.group.replicas * moved_s
    moved = max(on_its_way * load.prompt.mean_tokens, min(longest, long_tokens(plan)))
    return item.report.kv_peak_share + moved / item.memory.replica_kv_tokens <= 1


def _half_pool(one: Evaluation) -> HalfPool:
    (item,) = one.groups
    group, limits = item.group, item.group.limits
    return HalfPool(
        layout=group.key,
        gpu=group.gpu.name,
        replicas=group.replicas,
        gpus_per_replica=group.gpus_per_replica,
        max_num_seqs=limits.max_num_seqs,
        max_num_batched_tokens=limits.max_num_batched_tokens,
        max_model_len=limits.max_model_len,
        first_token_s=one.predicted.ttft.p95_s,
        first_token_upper_s=one.predicted.ttft_interval.upper,
        max_requests_per_s=item.max_requests_per_s,
    )
