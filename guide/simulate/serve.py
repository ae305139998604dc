"""One replica of a candidate simulated under its share of the load, and the report of it."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from functools import partial
from statistics import fmean
from typing import NamedTuple

from msgspec.structs import replace

from guide.domain import (
    Catalog,
    MemoryFit,
    ReplicaGroup,
    ServingReport,
    Workload,
)
from guide.perf.fits import ServingParams
from guide.simulate.arrivals import WARM_UP_WAVES, Requests, most_new_tokens, requests_of
from guide.simulate.capacity import largest_batch, layout_cost, rate_of, request_tokens
from guide.simulate.job import ended_per_s, whole_job
from guide.simulate.policy import policy_of, release_of
from guide.simulate.prefix_cache import PrefixCache
from guide.simulate.replica import ReplicaLoop
from guide.simulate.runs import EngineRun, Full, Runs
from guide.simulate.steady import LEAST, noise, run_length, warm_up
from guide.simulate.tasks import stepping_of
from guide.simulate.times import percentiles, times_of

WAVES = 4  # of full batches: enough to tell a rate
COUNTED_WAVES = 2  # requests of each user of a closed loop that are counted, at the least
MOST_USERS = 4000  # of a closed loop that are simulated: more than any batch, others only wait
MOST_OFFLINE = 2000  # requests of a job that are simulated, and more where batches are large
MOST_WITH_PREFIXES = 2400  # requests: their runs are rarely shared, and what scatters is told
NEAR = 0.75  # of the estimated saturation: from here on capacity is simulated
STEEP = 0.8  # of capacity: from here on a little of it moves the wait much
ONE_PERCENT = 1.01
GROWTH = 1.5  # backlog at the end over backlog in the middle that tells an unstable queue
SLACK_REQUESTS = 8


def serve(
    group: ReplicaGroup,
    memory: MemoryFit,
    workload: Workload,
    catalog: Catalog,
    *,
    seed: int,
    runs: Runs | None = None,
) -> ServingReport:
    """Simulate one replica of `group` under `workload`, already its share of the plan's load.

    `runs` remembers what was simulated, and is asked first.
    """
    runs = Runs() if runs is None else runs
    policy = policy_of(group, memory, catalog, request_tokens(workload), most_new_tokens(workload))
    cost, serving = layout_cost(group, catalog)
    # not by the group: its pool lists nodes, and there may be thousands
    replica = (
        *(cost.alike(), serving, group.speculation, replace(policy, kv_blocks=0)),
        *(group.limits.max_model_len, group.model.window_tokens),
    )
    full = partial(runs.full, replica, policy.kv_blocks)
    engine = _Engine(group, memory, workload, catalog, full)
    count, busy = engine.planned()
    key = (
        *(replica, workload, seed),
        *(count, busy >= NEAR and busy),  # beyond, the report rests on the cache as well
    )
    found = runs.find(key, policy.kv_blocks)
    if found is None:
        found = engine.served(count, busy, seed)
        runs.add(key, found)
    return found.with_blocks(policy.kv_blocks)


class _Engine(NamedTuple):
    """One replica with its share of the load."""

    group: ReplicaGroup
    memory: MemoryFit
    share: Workload
    catalog: Catalog
    full: Callable[[Workload, Callable[[], Full]], Full]  # as remembered of it, else as simulated

    def planned(self) -> tuple[int, float]:
        """Requests to simulate, and how busy the replica will be by estimate: load over
        saturation.
        """
        group, share = self.group, self.share
        if share.concurrency is not None:
            users = _users(share)
            counted = max(COUNTED_WAVES, math.ceil(LEAST / 2 / users))
            return users * (WARM_UP_WAVES + counted + 1), 0.0
        if share.offline is not None:
            batch = largest_batch(group, self.memory, share)
            return min(share.offline, max(MOST_OFFLINE, 2 * WAVES * batch)), 0.0
        assert share.requests_per_s is not None
        if share.prefixes is not None:  # no estimate tells what a full replica still finds
            full = self._full()
            busy = share.requests_per_s / full.ended_per_s
            needed = run_length(busy, full.batch_mean, share.arrival_cv)
            return min(MOST_WITH_PREFIXES, needed), busy
        (cost, _), stepping = layout_cost(group, self.catalog), stepping_of(group)

        def rate(batch: int) -> float:
            return rate_of(cost, stepping, share, batch)

        busy = share.requests_per_s / rate(largest_batch(group, self.memory, share))
        # by slots, not memory, so that engines that differ in nothing else share their runs
        slots = range(1, group.most_sequences + 1)
        in_flight = 1 + bisect_left(slots, share.requests_per_s, key=rate)
        return run_length(busy, in_flight, share.arrival_cv), busy

    def _full(self) -> Full:
        """The replica while more than enough wait, the same under every load."""
        return self.full(replace(self.share, requests_per_s=None, arrival_cv=1.0), self._filled)

    def _filled(self) -> Full:
        replica, most_per_s = self._capacity()
        starved = replica.starved or replica.evicted
        return Full(starved, replica.decoding.batch_mean, most_per_s)

    def served(self, count: int, busy: float, seed: int) -> EngineRun:
        """Simulate; where the queue is long, also what the replica can serve, and how steep the
        wait is.
        """
        replica, report = self._run(self.share, count, seed)
        starved, offered = replica.starved, self.share.requests_per_s
        if offered is not None and not replica.refused:
            if busy >= 1:
                report = replace(report, stable=False)
            elif busy >= NEAR or starved:
                full = self._full()
                starved, most = starved or full.starved, full.ended_per_s
                report = replace(report, stable=offered < most)
                if STEEP * most <= offered < most:
                    fuller = replace(self.share, requests_per_s=offered * ONE_PERCENT)
                    _, worse = self._run(fuller, count, seed)
                    grown = math.log(worse.ttft.p95_s / report.ttft.p95_s) / math.log(ONE_PERCENT)
                    report = replace(report, ttft_steepness=1 + max(0.0, grown))
            if self.share.prefixes is not None:
                full = self._full()
                starved = starved or full.starved
                report = replace(report, full_per_s=full.ended_per_s)
        return EngineRun(replica.policy.kv_blocks, starved or replica.evicted, report)

    def _run(self, load: Workload, count: int, seed: int) -> tuple[ReplicaLoop, ServingReport]:
        group = self.group
        users = None if load.concurrency is None else _users(load)
        drawn = replace(load, concurrency=users)
        requests = requests_of(drawn, count, seed, group.limits.max_model_len, group.attention_dp)
        replica, serving = run(group, self.memory, requests, self.catalog, closed_users=users)
        report = _report(replica, serving, load, seed)
        if load.offline is None:
            return replica, report
        rate = ended_per_s(replica, largest_batch(group, self.memory, load))
        return replica, whole_job(report, load.offline, count, rate)

    def _capacity(self) -> tuple[ReplicaLoop, float]:
        """The replica while more than enough requests wait, and how many it ends a second: of its
        own dice, so that all seeds agree on what is stable.
        """
        group, share = self.group, self.share
        batch = largest_batch(group, self.memory, share)
        count = max(LEAST, WAVES * batch)
        drawn = requests_of(share, count, 0, group.limits.max_model_len, group.attention_dp)
        waiting = replace(drawn, arrivals=[0.0] * count)
        replica, _ = run(group, self.memory, waiting, self.catalog)
        return replica, ended_per_s(replica, batch)


def _users(load: Workload) -> int:
    """The users of a closed loop that are simulated; none of another load."""
    return min(load.concurrency or 0, MOST_USERS)


def run(
    group: ReplicaGroup,
    memory: MemoryFit,
    requests: Requests,
    catalog: Catalog,
    *,
    closed_users: int | None = None,
) -> tuple[ReplicaLoop, ServingParams]:
    """Serve `requests` by one replica of `group`; also what requests pay around it."""
    cost, serving = layout_cost(group, catalog)
    typical = (sum(requests.prompts) + sum(requests.outputs)) / max(1, len(requests.prompts))
    policy, prefixes = policy_of(group, memory, catalog, typical, requests.most_new), None
    if requests.sessions is not None and release_of(group, catalog).prefix_cache:
        prefixes = PrefixCache(requests.sessions, policy.block_tokens, policy.kv_blocks)
    replica = ReplicaLoop(
        policy,
        cost,
        requests.prompts,
        requests.outputs,
        requests.arrivals,
        window=group.model.window_tokens,
        cached=requests.cached,
        closed_users=closed_users,
        prefixes=prefixes,
    )
    replica.run()
    return replica, serving


def _report(
    replica: ReplicaLoop, serving: ServingParams, workload: Workload, seed: int
) -> ServingReport:
    """What one replica did; `workload` is its share."""
    users = _users(workload)
    times = times_of(replica, serving, users)
    waits_s, job_s, decoding = 0.0, None, replica.decoding.batch_mean
    if workload.offline is not None:
        job_s = replica.clock  # nothing is sent: a batch runs beside its engine
        in_steady = len(times.e2e) / job_s
    elif workload.concurrency is not None:
        in_steady = users / fmean(times.e2e)  # Little's law: nothing else is so free of edges
        waits_s = (workload.concurrency - users) / in_steady
        # and of those who decode: the mean over steps counts an emptying server at the end
        decoding = in_steady * (fmean(times.e2e) - fmean(times.ttft))
    else:
        times = times.between(warm_up(times.ttft, times.tpot), len(times.ttft))
        span = replica.clock - min(times.arrival)
        in_steady = min(len(times.arrival) / max(span, 1e-9), workload.requests_per_s or 0.0)
    return ServingReport(
        ttft=percentiles(times.ttft, waits_s),
        tpot=percentiles(times.tpot),
        e2e=percentiles(times.e2e, waits_s),
        queue=percentiles(times.queue, waits_s),
        requests_per_s=in_steady,
        output_tokens_per_s=in_steady * fmean(times.outputs),
        kv_peak_share=replica.kv_peak_share,
        batch_mean=decoding,
        preemptions=replica.preemptions,
        stable=not replica.refused and _stable(replica, workload),
        seed=seed,
        job_s=job_s,
        noise=(noise(times.ttft), noise(times.tpot), noise(times.e2e)),
        hit_share=None if workload.prefixes is None else _hit_share(replica),
    )


def _hit_share(replica: ReplicaLoop) -> float:
    """Of the prompt tokens of those that began, the share that was found."""
    if replica.prefixes is None:
        return 0.0
    found = replica.prefixes.found
    return sum(found.values()) / max(1, sum(replica.prompt[i] for i in found))


def _stable(replica: ReplicaLoop, workload: Workload) -> bool:
    """Whether the backlog has stopped growing: at the last arrival it is what it was half-way."""
    if workload.requests_per_s is None:
        return True
    arrival, start = list(replica.arrival_s), sorted(replica.start_s)
    halfway, end = (
        bisect_right(arrival, moment) - bisect_right(start, moment)
        for moment in (arrival[len(arrival) // 2], arrival[-1])
    )
    return end <= GROWTH * halfway + SLACK_REQUESTS
