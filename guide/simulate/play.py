"""A trace replayed through one layout.

A Service splits connections at random and evenly, so requests are dealt to the replicas by seeded
dice; those of a batch by least work.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapreplace
from itertools import chain
from statistics import fmean

import numpy as np

from guide.domain import Catalog, MemoryFit, ReplicaGroup, Slo
from guide.errors import SpecError
from guide.record import Record
from guide.simulate.arrivals import Requests, cached_tokens
from guide.simulate.capacity import layout_cost
from guide.simulate.latency import Latency
from guide.simulate.policy import policy_of
from guide.simulate.stream import Stream
from guide.simulate.times import Times
from guide.simulate.trace import Floats, Ints, Trace


class Latencies:
    """The latencies of the requests that were served, and the limits on them."""

    def __init__(self, slo: Slo) -> None:
        self.ttft = Latency(slo.ttft_p95_s)
        self.tpot = Latency(slo.tpot_p95_s)  # of answers that have a gap: two tokens or more
        self.e2e = Latency(slo.e2e_p95_s)
        self.queue = Latency()
        self.output_tokens = 0

    @property
    def served(self) -> int:
        """Requests that were served."""
        return self.e2e.count

    def add(self, times: Times) -> None:
        """Take in what a replica has served."""
        self.ttft.add(times.ttft)
        pairs = zip(times.tpot, times.outputs, strict=True)
        self.tpot.add([gap for gap, outputs in pairs if outputs > 1])
        self.e2e.add(times.e2e)
        self.queue.add(times.queue)
        self.output_tokens += int(sum(times.outputs))


class Played(Record, frozen=True, kw_only=True):
    """What a layout did with a trace."""

    latencies: Latencies
    requests: int
    too_long: int  # refused at once: longer than the layout accepts
    unserved: int  # accepted, but their KV cache never fits
    last_arrival_s: float
    end_s: float  # when the last request finished
    kv_peak_share: float  # of the fullest replica
    batch_mean: float  # over the replicas that served
    preemptions: int
    busiest: int  # requests that the busiest replica got


def replay(
    groups: Sequence[tuple[ReplicaGroup, MemoryFit]],
    trace: Iterable[Trace],
    hit_shares: Sequence[float],
    catalog: Catalog,
    *,
    seed: int,
    slo: Slo | None = None,
    offline: bool = False,
    most_new_tokens: int = 0,
) -> Played:
    """Serve a trace by the replicas of `groups`, each group with its share of the load; an
    `offline` one is dealt out by least work. `hit_shares` of prompt tokens are found in the prefix
    caches, by group. Clients allow each answer `most_new_tokens`, or what it has where that is
    more.

    Raises `SpecError` where no request can be served at all.
    """
    latencies = Latencies(slo or Slo())
    parts = iter(trace)
    first = next(parts, None)
    typical = 1.0 if first is None else float(np.mean(first.prompts + first.outputs))
    replicas = [
        _Replica(
            group,
            memory,
            typical,
            hit_share,
            catalog,
            latencies=latencies,
            most_new_tokens=most_new_tokens,
        )
        for (group, memory), hit_share in zip(groups, hit_shares, strict=True)
        for _ in range(group.replicas)
    ]
    chances = np.array([r.group.load_share / r.group.replicas for r in replicas])
    chances /= chances.sum()
    dice = np.random.default_rng(seed)
    given = [(0.0, n) for n in range(len(replicas))]  # work so far, replica
    requests, last_arrival_s = 0, 0.0
    for part in chain(() if first is None else (first,), parts):
        if offline:
            owner = _by_least_work(part, chances, given)
        else:
            owner = dice.choice(len(replicas), size=len(part.arrivals), p=chances)
        order = np.argsort(owner, kind="stable")
        ends = np.searchsorted(owner[order], np.arange(len(replicas)), side="right")
        for replica, mine in zip(replicas, np.split(order, ends[:-1]), strict=True):
            replica.take(part, mine)
        requests += len(part.arrivals)
        last_arrival_s = float(part.arrivals[-1])
    for replica in replicas:
        replica.close()
    served = [replica for replica in replicas if replica.served]
    if not served:
        most = max(group.limits.max_model_len for group, _ in groups)
        raise SpecError(
            f"no request of the trace fits the layout, which accepts {most:,} tokens; "
            "raise spec.workload.maxContextTokens"
        )
    too_long = sum(replica.too_long for replica in replicas)
    return Played(
        latencies=latencies,
        requests=requests,
        too_long=too_long,
        unserved=requests - too_long - latencies.served,
        last_arrival_s=last_arrival_s,
        end_s=max(one.stream.clock for one in served),
        kv_peak_share=max(one.stream.kv_peak_share for one in served),
        batch_mean=fmean(one.stream.decoding.batch_mean for one in served),
        preemptions=sum(one.stream.preemptions for one in served),
        busiest=max(replica.dealt for replica in replicas),
    )


def _by_least_work(part: Trace, chances: Floats, given: list[tuple[float, int]]) -> Ints:
    """The replica of each request: the one with the least tokens for its share, of all dealt so
    far."""
    owner: list[int] = []
    for tokens in (part.prompts + part.outputs).tolist():
        work, one = given[0]
        heapreplace(given, (work + tokens / float(chances[one]), one))
        owner.append(one)
    return np.array(owner, dtype=np.int64)


class _Replica:
    """A replica over its requests."""

    def __init__(
        self,
        group: ReplicaGroup,
        memory: MemoryFit,
        typical_tokens: float,
        prefix_hit_share: float,
        catalog: Catalog,
        *,
        latencies: Latencies,
        most_new_tokens: int,
    ) -> None:
        cost, serving = layout_cost(group, catalog)
        policy = policy_of(group, memory, catalog, typical_tokens, most_new_tokens)
        window = group.model.window_tokens
        self.group = group
        self.stream = Stream(policy, cost, serving, window=window)
        self.prefix_hit_share = prefix_hit_share
        self.latencies = latencies
        self.dealt = self.too_long = self.served = 0

    def take(self, part: Trace, mine: Ints) -> None:
        """Serve the requests `mine` of a part of the trace."""
        fits = part.prompts[mine] + part.outputs[mine] <= self.group.limits.max_model_len
        self.dealt += len(mine)
        self.too_long += int((~fits).sum())
        if not fits.any():
            return
        mine = mine[fits]
        prompts: list[int] = part.prompts[mine].tolist()
        requests = Requests(
            prompts=prompts,
            outputs=part.outputs[mine].tolist(),
            arrivals=part.arrivals[mine].tolist(),
            cached=cached_tokens(prompts, self.prefix_hit_share),
        )
        self._count(self.stream.feed(requests))

    def close(self) -> None:
        """Serve everything to its end."""
        self._count(self.stream.close())

    def _count(self, times: Times | None) -> None:
        if times is not None:
            self.served += len(times.e2e)
            self.latencies.add(times)
