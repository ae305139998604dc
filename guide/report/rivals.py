"""Why this framework and not the other: the cause, in one sentence for every face."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from guide.domain import Evaluation, Recommendation, Rival
from guide.report.reasons import split_unready
from guide.report.sentences import parallel
from guide.units import format_milliseconds

ALIKE = 0.02  # in a cause: below, it explains nothing
FULL = 0.9  # of the cache: from here on it holds requests back


class Other(NamedTuple):
    """A framework that was compared and is not that of the best."""

    framework: str
    why: str  # not this one: a sentence
    rival: Rival | None  # its best, where it keeps every limit


def reasons(recommendation: Recommendation) -> Iterator[str]:
    """One sentence for each framework that was compared and is not that of the best."""
    return (other.why for other in others(recommendation))


def others(recommendation: Recommendation) -> Iterator[Other]:
    """The other frameworks that were compared; none where one was asked, or nothing fits."""
    r = recommendation
    if r.best is None:
        return
    own = r.best.groups[0].group.framework
    if len(r.best.groups) > 1:  # a mix has no single framework
        return
    beside = {one.evaluation.groups[0].group.framework: one for one in r.rivals}
    for name, _ in r.framework_versions:
        if name in (own, *r.unready):
            continue
        rival = beside.get(name)
        why = cause(r.best, rival) if rival else _nearest(r, name)
        yield Other(name, f"Why {own} and not {name}: {why}", rival)


def cause(best: Evaluation, rival: Rival) -> str:
    """What makes the difference, in one sentence: kernels, scheduler or memory.

    A token takes a decode step, and longer the more it waits for prompts of others: the step with
    the same batch tells kernels, the time beyond it the scheduler. A cache tells where it is full.
    """
    mine, other = best.groups[0], rival.evaluation.groups[0]
    first, second = mine.group.framework, other.group.framework
    if (mine.group.pool.name, parallel(mine), mine.group.precision.name) != (
        other.group.pool.name,
        parallel(other),
        other.group.precision.name,
    ):
        return (
            f"their best layouts differ ({_layout(best)}, {_layout(rival.evaluation)}), so bills "
            "and latencies decide, not one part of a step."
        )
    waits = best.predicted.tpot.mean_s / rival.best_step_s
    stalls = rival.evaluation.predicted.tpot.mean_s / rival.decode_step_s
    held, holds = other.memory.replica_kv_tokens, mine.memory.replica_kv_tokens
    binds = max(mine.report.kv_peak_share, other.report.kv_peak_share) >= FULL
    gains = {
        f"kernels: a decode step of the same batch takes {_ms(rival.best_step_s)}, "
        f"{_ms(rival.same_batch_step_s)} under {second}": rival.same_batch_step_s
        / rival.best_step_s,
        f"the scheduler: tokens take {waits:.2f} times a decode step, {stalls:.2f} times under "
        f"{second}, since they wait for prompts of others": stalls / waits,
        f"memory: the cache of a replica holds {holds:,} tokens, {held:,} under {second}, and it "
        "is full": holds / held if held and binds else 1.0,
    }
    said, gain = max(gains.items(), key=lambda item: item[1])
    if math.log(gain) < ALIKE:
        return (
            f"kernels, scheduler and memory speak for {first} by less than {100 * ALIKE:g} % each: "
            "either would do."
        )
    return f"the cause is {said}."


def _ms(seconds: float) -> str:
    return format_milliseconds(seconds)


def _layout(item: Evaluation) -> str:
    group = item.groups[0]
    return f"{group.group.replicas} x {parallel(group)} on {group.group.gpu.name}"


def _nearest(r: Recommendation, name: str) -> str:
    """What its nearest candidate broke."""
    ready, _ = split_unready(r)
    missed = [
        one
        for one in ready
        if one.candidate is not None and one.candidate.groups[0].framework == name
    ]
    if not missed:
        return f"no layout of {name} was considered."
    near = min(missed, key=lambda one: one.margin)
    return f"none of its layouts keeps every limit; the nearest fails by this: {near.detail}."
