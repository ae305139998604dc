"""The steady state of a queue: how many requests show it, and where the warm-up before it ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from guide.native import i64, vec

LEAST = 600  # requests: enough for a p95 within a few percent at half of saturation
DOUBLINGS = 3  # at most eight times as many
RELAXED = 30  # requests that a queue with no load at all takes to forget, see `run_length`
TURNOVERS = 6  # how often the requests in flight change over a run
PARTS, STUDENT_90 = 5, 2.132  # batches, and the quantile for their four degrees of freedom
TINY_S = 1e-9
BATCH = 5  # requests in one mean of MSER-5


def run_length(busy: float, in_flight: float, arrival_cv: float = 1.0) -> int:
    """Requests to simulate at `busy` of saturation with so many in flight.

    A queue forgets its past after a time that grows as 1 / (1 - busy)^2 and with the variance of
    what arrives (Whitt, "Planning queueing simulations", 1989), and a batch is not full before it
    was filled. One of few sizes, so that like runs are shared. An overloaded queue has no steady
    state to wait for.
    """
    if busy >= 1:
        return LEAST
    spread = max(1.0, arrival_cv) ** 2
    needed = max(RELAXED * spread / (1 - busy) ** 2, TURNOVERS * in_flight)
    return LEAST << min(DOUBLINGS, math.ceil(math.log2(max(1.0, needed / LEAST))))


def warm_up(*series: vec[float]) -> int:
    """Leading values to drop, so that none of the series shows its warm-up: at most half.

    MSER-5: the cut with the least standard error of the mean of what it leaves, over means of five
    values (White, "An effective truncation heuristic for bias reduction in simulation output",
    1997; White, Cobb and Spratt 2000).
    """
    return max(_least_error(values) for values in series)


def noise(values: Sequence[float]) -> float:
    """Half-width in log space of the 90 % interval of their p95 over other runs of this kind.

    From the p95 of five parts, one after the other (the method of batch means: Law, "Simulation
    Modeling and Analysis", 2015, 9.5.3).
    """
    size: int = len(values) // PARTS
    if size < 2:
        return 0.0
    parts = [sorted(values[i * size : (i + 1) * size]) for i in range(PARTS)]
    tails = [math.log(max(part[int(0.95 * float(size - 1))], TINY_S)) for part in parts]
    spread = math.dist(tails, [fmean(tails)] * PARTS) / math.sqrt(PARTS - 1)
    return STUDENT_90 * spread / math.sqrt(PARTS)


def _least_error(values: vec[float]) -> int:
    count: i64 = len(values) // BATCH
    best: i64 = 0
    least, total, squares = math.inf, 0.0, 0.0
    for left in range(1, count + 1):  # from the end: what a cut leaves
        cut = count - left
        together = 0.0
        for place in range(cut * BATCH, (cut + 1) * BATCH):
            together += values[place]
        mean = together / float(BATCH)
        total += mean
        squares += mean * mean
        error = (squares - total * total / float(left)) / float(left * left)
        if 2 * cut <= count and error <= least:
            best, least = cut, error
    return BATCH * best
