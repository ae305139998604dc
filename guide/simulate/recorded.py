"""A recorded trace summed up as a workload: its lengths, and the load over its busiest day.

Days are counted from the first request on. The trace streams by: memory grows with its days alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from guide.domain import DayProfile, Lengths
from guide.errors import SpecError
from guide.record import Record
from guide.simulate.day import DAY_S, HOUR_S
from guide.simulate.latency import Latency
from guide.simulate.trace import Floats, Ints, Trace
from guide.units import format_duration

LEAST_S = DAY_S / 2  # what is shorter says nothing of a day


class Recorded(Record, frozen=True, kw_only=True):
    """What a trace says of the load."""

    prompt: Lengths
    output: Lengths
    day: DayProfile
    seconds: float  # from the first request to the last
    busiest: int  # which of its days is the profile, from 1


def summed_up(trace: Iterable[Trace], name: str, parts: int) -> Recorded:
    """Sum a trace up, its busiest day as so many parts; `SpecError` for one that holds no day."""
    lengths = Latency(), Latency()  # of tokens here
    days: defaultdict[int, Floats] = defaultdict(lambda: np.zeros(parts))
    part_s, last_s = DAY_S / parts, 0.0
    for part in trace:
        for held, tokens in zip(lengths, (part.prompts, part.outputs), strict=True):
            held.add(tokens.astype(float).tolist())
        places: Ints = (part.arrivals / part_s).astype(np.int64)
        for place, count in zip(*np.unique(places, return_counts=True), strict=True):
            days[int(place) // parts][int(place) % parts] += count
        last_s = float(part.arrivals[-1])
    if last_s < LEAST_S:
        raise SpecError(
            f"{name} ends {format_duration(last_s)} after its first request, which is no day: "
            f"record {LEAST_S / HOUR_S:.0f} hours or more, or state requestsPerSecond"
        )
    busiest = max(days, key=lambda day: (days[day].sum(), -day))
    per_s = tuple((days[busiest] / part_s).tolist())
    prompt, output = map(_lengths, lengths)
    return Recorded(
        prompt=prompt,
        output=output,
        day=DayProfile(
            low_per_s=min(per_s),
            mean_per_s=sum(per_s) / parts,
            peak_per_s=max(per_s),
            recorded_per_s=per_s,
        ),
        seconds=last_s,
        busiest=busiest + 1,
    )


def _lengths(seen: Latency) -> Lengths:
    """Mean and p95 in tokens; no p95 where a few long ones lift the mean above it."""
    found = seen.percentiles
    p95 = found.p95_s
    return Lengths(mean_tokens=found.mean_s, p95_tokens=p95 if p95 >= found.mean_s else None)
