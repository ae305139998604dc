"""One minute of a replica under its load, second by second: what a dashboard of it would show.

The replica is simulated as for the prediction; the moments follow from the times of its requests,
so nothing is recorded while it runs.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from guide.domain import Catalog, GroupEvaluation, Plan
from guide.record import Record
from guide.search.evaluate import load_share
from guide.simulate.arrivals import requests_of
from guide.simulate.replica import NEVER, ReplicaLoop
from guide.simulate.serve import run
from guide.simulate.steady import LEAST
from guide.simulate.times import times_of

MINUTE_S = 60
MOST_REQUESTS = 4000
Floats = npt.NDArray[np.float64]


class Moment(Record, frozen=True, kw_only=True):
    """A replica at the end of a second, and what that second was like."""

    second: int
    running: int  # requests admitted and not finished
    waiting: int  # requests that arrived and were not admitted
    kv_share: float  # of the KV cache, held by running requests
    ttft_s: float | None  # mean of the first tokens of this second; None where there was none


class Timeline(Record, frozen=True, kw_only=True):
    """A minute, or less where so many requests come that fewer seconds are simulated."""

    moments: tuple[Moment, ...]
    since_s: float  # simulated before it: the replica is warm
    preemptions: int  # over the whole run; a preempted request counts as running all the time


def one_minute(item: GroupEvaluation, plan: Plan, catalog: Catalog, *, seed: int = 0) -> Timeline:
    """Simulate a replica of `item`; the second half of the run is shown."""
    group = item.group
    offered = load_share(plan.workload, group.replicas, group.load_share)
    users = offered.concurrency
    rate = item.report.requests_per_s
    least = LEAST if users is None else 4 * users
    count = min(MOST_REQUESTS, max(least, math.ceil(2.5 * MINUTE_S * rate)))
    requests = requests_of(
        offered, count, seed, group.limits.max_model_len, ranks=group.attention_dp
    )
    replica, serving = run(group, item.memory, requests, catalog, closed_users=users)
    times = times_of(replica, serving)
    start_s = replica.arrival_s[count // 2]
    seconds = min(MINUTE_S, math.floor(replica.arrival_s[-1] - start_s))
    clock = start_s + np.arange(1, seconds + 1, dtype=np.float64)
    running, waiting, kv = _held(replica, clock)
    ttft = np.array(times.ttft)
    first = np.digitize(np.add(times.arrival, times.ttft) - start_s, np.arange(seconds + 1))
    return Timeline(
        moments=tuple(
            Moment(
                second=second,
                running=int(running[second - 1]),
                waiting=int(waiting[second - 1]),
                kv_share=float(kv[second - 1]),
                ttft_s=float(ttft[first == second].mean()) if (first == second).any() else None,
            )
            for second in range(1, seconds + 1)
        ),
        since_s=start_s,
        preemptions=replica.preemptions,
    )


def _held(replica: ReplicaLoop, clock: Floats) -> tuple[Floats, Floats, Floats]:
    """Requests running, requests waiting and share of the KV cache held, at each time of `clock`.

    Between two of its times a request grows evenly: its prompt while it is read, its answer while
    it is written.
    """
    served = np.array(replica.finish_s) < NEVER
    arrival, start, first, finish = (
        np.array(times)[served][None, :]
        for times in (replica.arrival_s, replica.start_s, replica.first_token_s, replica.finish_s)
    )
    now = clock[:, None]
    inside = (start <= now) & (now < finish)
    read = np.array(replica.prompt)[served] * _share(now, start, first)
    written = np.array(replica.output)[served] * _share(now, first, finish)
    blocks = np.ceil((read + written) / replica.policy.block_tokens) * inside
    held = np.minimum(1.0, blocks.sum(axis=1) / replica.policy.kv_blocks)
    waits = (arrival <= now) & (now < start)
    return inside.sum(axis=1), waits.sum(axis=1), held


def _share(now: Floats, begin: Floats, end: Floats) -> Floats:
    """How much of the way from `begin` to `end` is done."""
    return np.clip((now - begin) / np.maximum(end - begin, 1e-9), 0.0, 1.0)
