"""A day of a deployment that a HorizontalPodAutoscaler scales: its own algorithm in the loop.

The rate of a recorded day runs straight from the middle of one part to that of the next. Else it
climbs from its low to its peak and back as a cosine, bent until its mean is the stated one. The
autoscaler sees the requests that came in the last two minutes, divides them by its target, ignores
a tenth, adds replicas at once, as fast as its defaults allow, and takes them away only when no
decision of its window asked for as many.
https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/#algorithm-details
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from guide.domain import AutoscalerRules, DayProfile, ScaledDay
from guide.simulate.arrivals import counted

DAY_S = 86_400
SYNC_S = 15  # between two decisions
RATE_WINDOW_S = 120  # over which requests are counted
TOLERANCE = 0.1
UP_PODS, UP_SHARE = 4, 1.0  # the most that is added at once, whichever is more
HOUR_S = 3600
_SHARPEST = 1e4  # exponent of the cosine: a peak of some minutes


def rates(profile: DayProfile, step_s: float = SYNC_S) -> list[float]:
    """Requests per second at each step of a day; a cosine begins in its quietest moment."""
    if profile.recorded_per_s:
        return _between(profile.recorded_per_s, step_s)
    low, span = profile.low_per_s, profile.peak_per_s - profile.low_per_s
    power = _power((profile.mean_per_s - low) / span) if span > 0 else 1.0
    steps = int(DAY_S / step_s)
    waves = ((1 - math.cos(2 * math.pi * n / steps)) / 2 for n in range(steps))
    return [low + span * wave**power for wave in waves]


def _between(parts: Sequence[float], step_s: float) -> list[float]:
    """Straight lines through the middle of each part, round the clock: the mean stays."""
    steps = np.arange(0, DAY_S, step_s) * len(parts) / DAY_S
    middles = np.arange(len(parts)) + 0.5
    return np.interp(steps, middles, parts, period=len(parts)).tolist()


def _power(mean: float) -> float:
    """The power of a raised cosine that has this mean, which falls from 1 as the power grows."""
    low, high = 0.0, _SHARPEST
    for _ in range(60):
        middle = (low + high) / 2
        log_mean = math.lgamma(middle + 0.5) - math.lgamma(middle + 1) - math.lgamma(0.5)
        low, high = (middle, high) if math.exp(log_mean) > mean else (low, middle)
    return low


def fastest_growth(day: Sequence[float], within_s: float, beyond_per_s: float = 0.0) -> float:
    """By how many times the rate grows at most within so many seconds, where that takes it beyond
    `beyond_per_s`; infinite from nothing.
    """
    now = np.asarray(day)
    later = np.roll(now, -math.ceil(within_s / SYNC_S))
    beyond = later > beyond_per_s
    if (now[beyond] == 0).any():
        return math.inf
    return float((later[beyond] / now[beyond]).max(initial=1.0))


def scaled_day(
    profile: DayProfile,
    rules: AutoscalerRules,
    limit_per_s: float,
    usd_per_h: Callable[[int], float | None],
    seed: int = 0,
) -> ScaledDay:
    """The second of two equal days, so that the first replicas are those of a quiet night."""
    day = rates(profile)
    seen = [count / SYNC_S for count in counted([rate * SYNC_S for rate in day * 2], seed)]
    scaler = _Scaler(rules)
    held: list[tuple[int, float]] = []  # replicas that are billed, load of each that serves
    for step, rate in enumerate(day * 2):
        scaler.step(step * SYNC_S, seen[max(0, step - RATE_WINDOW_S // SYNC_S) : step + 1])
        held.append((scaler.wanted, rate / scaler.serving))
    second = held[len(day) :]
    counts = [count for count, _ in second]
    bills = [usd_per_h(count) for count in counts]
    return ScaledDay(
        replica_hours=sum(counts) * SYNC_S / HOUR_S,
        most_replicas=max(counts),
        scalings=sum(one != two for one, two in pairwise(counts)),
        flaps=_flaps(counts, rules.start_s),
        over_limit_s=SYNC_S * sum(load > limit_per_s for _, load in second),
        worst_per_s=max(load for _, load in second),
        usd=_sum(bills),
    )


class _Scaler:
    """The count of replicas, and those that still start."""

    def __init__(self, rules: AutoscalerRules) -> None:
        self.rules = rules
        self.wanted = rules.min_replicas
        self._starting: deque[float] = deque()  # when each serves
        self._decided: deque[tuple[float, int]] = deque()  # within the window of scaling down

    @property
    def serving(self) -> int:
        """Replicas that take load."""
        return self.wanted - len(self._starting)

    def step(self, now_s: float, seen: Sequence[float]) -> None:
        """One look at the rate, and what follows from it."""
        while self._starting and self._starting[0] <= now_s:
            self._starting.popleft()
        rate = sum(seen) / len(seen)
        ratio = rate / (self.rules.target_per_s * self.wanted)
        within = abs(ratio - 1) <= TOLERANCE
        asked = self.wanted if within else math.ceil(rate / self.rules.target_per_s)
        self._set(now_s, self._stable(now_s, asked))

    def _stable(self, now_s: float, asked: int) -> int:
        """The most that was asked for within the window, if that is less than there is."""
        self._decided.append((now_s, asked))
        while self._decided[0][0] <= now_s - self.rules.down_stabilization_s:
            self._decided.popleft()
        if asked >= self.wanted:
            return asked
        return min(self.wanted, max(count for _, count in self._decided))

    def _set(self, now_s: float, count: int) -> None:
        fastest = max(self.wanted + UP_PODS, math.floor(self.wanted * (1 + UP_SHARE)))
        count = min(count, fastest, self.rules.max_replicas)
        count = max(count, self.rules.min_replicas)
        for _ in range(count - self.wanted):
            self._starting.append(now_s + self.rules.start_s)
        for _ in range(min(self.wanted - count, len(self._starting))):
            self._starting.pop()  # those that do not serve yet go first
        self.wanted = count


def _flaps(counts: Sequence[int], start_s: float) -> int:
    """Replicas that were wanted back sooner than they would have started."""
    flaps, gone_at = 0, -math.inf
    for step in range(1, len(counts)):
        if counts[step] < counts[step - 1]:
            gone_at = step * SYNC_S
        elif counts[step] > counts[step - 1] and step * SYNC_S - gone_at <= start_s:
            flaps += 1
    return flaps


def _sum(bills: Sequence[float | None]) -> float | None:
    known = [usd for usd in bills if usd is not None]
    return sum(known) * SYNC_S / HOUR_S if len(known) == len(bills) else None
