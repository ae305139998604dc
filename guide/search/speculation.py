"""When speculative decoding pays for a deployment: the same replica with it and without it over the
load, and the acceptance at which both are alike, by the same simulation."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any

from msgspec.structs import replace

from guide.domain import (
    Evaluation,
    Plan,
    Release,
    ReplicaGroup,
    ServingReport,
    Speculation,
    SpeculationAdvice,
    SpeculationMethod,
    SpeculationPoint,
    Workload,
)
from guide.domain.speculation import REQUESTS
from guide.perf.memory import draft_bytes, draft_kv_bytes_per_token, memory_fit
from guide.search.evaluate import Study, load_share
from guide.search.rank import capacity_per_s
from guide.search.space import modelled_release
from guide.simulate.serve import serve
from guide.units import format_rate, format_seconds

SHARES = (0.1, 0.4, 0.7, 1.0)  # of the load at saturation
PERCENTS = range(101)


def advice(best: Evaluation, study: Study) -> SpeculationAdvice | None:
    """When speculation pays for `best`; None where it does not speculate, or mixes groups."""
    (item, *others) = best.groups
    speculation = item.group.speculation
    if speculation is None or others:
        return None
    release = modelled_release(study.catalog, item.group.framework)
    compared = Compared(item.group, release, study)
    asked = study.plan.workload
    points = {
        _load(load): compared.point(load) for load in loads_to_saturation(best, asked, SHARES)
    }
    return SpeculationAdvice(
        speculation=speculation,
        asked=points[_load(asked)],
        curve=tuple(points[load] for load in sorted(points)),
        break_even=compared.break_even(asked),
        draft_bytes=draft_bytes(item.group, release),
        draft_kv_bytes_per_token=draft_kv_bytes_per_token(item.group),
    )


def loads_to_saturation(
    best: Evaluation, asked: Workload, shares: tuple[float, ...]
) -> list[Workload]:
    """Loads up to saturation, that of the plan among them: requests/s, requests at a time up to
    twice the plan's, or the batch alone."""
    if asked.offline is not None:
        return [asked]
    offered = asked.requests_per_s
    if offered is not None:
        most = max(offered, capacity_per_s(best))
        rates = {most * share for share in shares} | {offered}
        return [_of(asked, rate / offered, requests_per_s=rate) for rate in sorted(rates)]
    users = asked.concurrency or 1
    counts = {max(1, math.ceil(2 * users * share)) for share in shares} | {users}
    return [_of(asked, count / users, concurrency=count) for count in sorted(counts)]


def _of(asked: Workload, times: float, **load: Any) -> Workload:
    return replace(asked, prefixes=asked.prefixes and asked.prefixes.times(times), **load)


def _load(workload: Workload) -> float:
    return float(workload.requests_per_s or workload.concurrency or workload.offline or 0)


def _unit(workload: Workload) -> str:
    if workload.offline is not None:
        return REQUESTS
    return "requests/s" if workload.concurrency is None else "requests at a time"


class Compared:
    """A replica of a deployment with speculation, and the same without."""

    def __init__(self, group: ReplicaGroup, release: Release, study: Study) -> None:
        self.group, self.release, self.study = group, release, study

    def report(self, load: Workload, speculation: Speculation | None) -> ServingReport:
        """One replica under its share of `load`."""
        group, study = self.group, self.study
        one = replace(group, replicas=1, load_share=1.0, speculation=speculation)
        return serve(
            one,
            memory_fit(one, self.release, group.switches),
            load_share(load, group.replicas, group.load_share),
            study.catalog,
            seed=study.seed,
            runs=study.runs,
        )

    def point(self, load: Workload) -> SpeculationPoint:
        """Both under one load."""
        one, plain = self.report(load, self.group.speculation), self.report(load, None)
        return SpeculationPoint(
            load=_load(load),
            unit=_unit(load),
            tpot_s=one.tpot.mean_s,
            plain_tpot_s=plain.tpot.mean_s,
            output_tokens_per_s=self._output(load, one),
            plain_output_tokens_per_s=self._output(load, plain),
        )

    def _output(self, load: Workload, report: ServingReport) -> float:
        """Output tokens/s of all replicas; a stable open loop serves what arrives."""
        if load.requests_per_s is not None and report.stable:
            return load.requests_per_s * load.output.mean_tokens
        return report.output_tokens_per_s * self.group.replicas

    def break_even(self, load: Workload) -> float | None:
        """The acceptance at all positions from which on speculation is no loss under `load`: its
        time falls with acceptance, so bisecting the percents finds it."""
        speculation = self.group.speculation
        assert speculation is not None
        plain = _time_s(self.report(load, None))

        def no_loss(percent: int) -> bool:
            return _time_s(self.report(load, speculation.accepting(percent / 100))) <= plain

        found = bisect_left(PERCENTS, True, key=no_loss)
        return found / 100 if found in PERCENTS else None


def _time_s(report: ServingReport) -> float:
    """What speculation is to shorten: a token, or a whole batch."""
    return report.tpot.mean_s if report.job_s is None else report.job_s


def about_speculation(plan: Plan, best: Evaluation, found: SpeculationAdvice | None) -> list[str]:
    """Whether speculation pays, in a sentence; or why the answer does without."""
    if plan.speculation is None:
        return []
    if found is not None:
        return [_verdict(found)]
    silent = [g.group for g in best.groups if g.group.speculation is None]
    if not silent:
        return ["speculation is not compared over the load of a mixed fleet; unmeasured here"]
    return [_why_not(silent[0], plan.speculation)]


def _verdict(found: SpeculationAdvice) -> str:
    asked, speculation = found.asked, found.speculation
    what = (
        f"speculation ({speculation.method.value}, {speculation.tokens} drafted, "
        f"{speculation.tokens_per_step:.2f} tokens a step by your acceptance)"
    )
    figures = (
        f"{format_rate(asked.output_tokens_per_s)} instead of "
        f"{format_rate(asked.plain_output_tokens_per_s)} output tokens/s"
        if asked.unit == REQUESTS
        else f"mean TPOT {format_seconds(asked.tpot_s)} instead of "
        f"{format_seconds(asked.plain_tpot_s)}"
    )
    pays = "pays at this load" if asked.pays else "hurts at this load: leave it out"
    need = (
        "no acceptance would make it pay"
        if found.break_even is None
        else f"acceptance is your number and must exceed {found.break_even:.0%} at every position"
    )
    return f"{what} {pays}, {figures}; {need}; unmeasured here{_turn(found)}"


def _turn(found: SpeculationAdvice) -> str:
    """Where along the load the verdict turns."""
    pays = [point.pays for point in found.curve]
    if len(pays) < 2 or all(pays) or not any(pays):
        return ""
    last = max(point.load for point in found.curve if point.pays)
    return f"; of the loads tried it pays up to {format_rate(last)} {found.asked.unit}"


def _why_not(group: ReplicaGroup, asked: Speculation) -> str:
    if group.pp > 1:
        reason = "with pipeline stages it is not modelled"
    elif group.attention_dp > 1:
        reason = "with attention in data parallel it is not modelled"
    elif asked.method is SpeculationMethod.MTP and not group.model.mtp:
        reason = f"{group.model.name} has no prediction layers"
    else:
        reason = f"with {group.framework} it is not modelled"
    return f"spec.workload.speculation is not part of this answer: {reason}"
