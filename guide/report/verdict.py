"""The verdict on top of the page: what to run, in words of people who do not run it (pure)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from guide.domain import Evaluation, Job, Plan, Provenance, Slo
from guide.record import Record
from guide.report.bill import idle_usd_per_h
from guide.report.sentences import HOURS_PER_MONTH
from guide.search.headroom import MOST_TIMES
from guide.search.notes import EDGE
from guide.units import format_count, format_duration, format_rate, format_seconds, format_usd

TIGHT = 0.05  # of a limit
# of the worst group, since a chain is as strong as its weakest link
TRUST = {
    Provenance.MEASURED: "Measured: runs of this model on this GPU and engine stand behind it.",
    Provenance.CALIBRATED: "Calibrated: runs of other models or loads on this GPU and engine stand "
    "behind it.",
    Provenance.EXTRAPOLATED: "Extrapolated: nobody measured this GPU with this engine. Benchmark "
    "it before you rely on it.",
}
_DRAFTED = (
    "Extrapolated: nobody measured speculative decoding here. Benchmark it before you rely on it."
)


def trust_in(one: Evaluation) -> str:
    """What stands behind the numbers of a deployment, in a sentence or two."""
    drafts = any(item.group.speculation is not None for item in one.groups)
    return _DRAFTED if drafts else TRUST[one.provenance]


class Chip(Record, frozen=True, kw_only=True):
    """One limit of the plan and how far the prediction stays from it, at the cautious end of the
    interval that decides.
    """

    name: str
    value: str
    limit: str
    spare: str
    tight: bool  # little to spare


class Verdict(Record, frozen=True, kw_only=True):
    """A recommended deployment for a reader without time."""

    sentence: str
    per_hour: str
    per_month: str  # empty for a batch, which ends
    chips: tuple[Chip, ...]
    headroom: str  # empty where it was not worked out
    at_the_edge: bool
    trust: str
    sure: bool
    idle: str  # empty where all that is billed is used


def verdict(plan: Plan, best: Evaluation, *, rented: bool = False) -> Verdict:
    """The verdict on `best`; `rented`: its nodes are there to be rented, not somebody's cluster."""
    bill = best.usd_per_h if best.job is None else best.job.usd
    monthly = best.usd_per_h if best.job is None else None
    unit = "/h" if best.job is None else " for the batch"
    chips = _chips(plan, best)
    more = best.headroom
    return Verdict(
        sentence=_sentence(plan, best, limited=bool(chips), rented=rented),
        per_hour="no price known" if bill is None else f"{format_usd(bill)}{unit}",
        per_month="" if monthly is None else f"${monthly * HOURS_PER_MONTH:,.0f}/month",
        chips=chips,
        headroom="" if more is None else _headroom(plan, more),
        at_the_edge=more is not None and more < EDGE,
        trust=trust_in(best),
        sure=best.provenance is not Provenance.EXTRAPOLATED,
        idle=_idle(best),
    )


def _sentence(plan: Plan, best: Evaluation, *, limited: bool, rented: bool) -> str:
    names = dict.fromkeys(item.group.model.name.rpartition("/")[2] for item in best.groups)
    engines = dict.fromkeys(item.group.framework for item in best.groups)
    gpus = " and ".join(f"{item.group.gpus} x {item.group.gpu.name}" for item in best.groups)
    engine = " and ".join(engines)
    bill = best.usd_per_h if best.job is None else best.job.usd
    unit = "per hour" if best.job is None else "for the batch"
    money = "" if bill is None else f" for {format_usd(bill)} {unit}"
    kept = ", within every limit" if limited else ""
    model = " and ".join(names)
    what = f"Rent {_nodes(best)} and run {model}" if rented else f"Run {model} on {gpus}"
    return f"{what} with {engine}{money}. {_serves(plan, best.job)}{kept}."


def _nodes(best: Evaluation) -> str:
    """Nodes to rent, of each group."""
    said: list[str] = []
    for item in best.groups:
        per_node = item.group.pool.gpus_per_node
        at_once = max(1, per_node // item.group.gpus_per_replica)
        count = math.ceil(item.group.replicas / at_once)
        nodes = "one node" if count == 1 else f"{count} nodes"
        each = "" if count == 1 else " each"
        said.append(f"{nodes} with {per_node} x {item.group.gpu.name}{each}")
    return " and ".join(said)


def _serves(plan: Plan, job: Job | None) -> str:
    load = plan.workload
    if job is not None:
        return f"It answers {load.offline or 0:,} requests in {format_duration(job.seconds)}"
    if load.requests_per_s is not None:
        return f"It serves {_per_s(load.requests_per_s)}"
    return f"It serves {load.concurrency:,} requests at a time"


def _per_s(rate: float) -> str:
    return "1 request a second" if rate == 1 else f"{format_rate(rate)} requests a second"


def _headroom(plan: Plan, more: float) -> str:
    offered = plan.workload.requests_per_s
    times = f"{math.floor((1 + more) * 100) / 100:.3g}"
    if more >= MOST_TIMES - 1:
        return f"Serves at least {MOST_TIMES:g} x this load"
    reach = "" if offered is None else f" ({format_rate((1 + more) * offered)} requests/s)"
    if more < EDGE:
        return (
            f"Runs at its edge: serves only up to {times} x this load{reach}; plan for a higher "
            "load, or watch it"
        )
    return f"Serves up to {times} x this load{reach}"


def _chips(plan: Plan, best: Evaluation) -> tuple[Chip, ...]:
    slo, budget = plan.slo, plan.budget
    chips = [*_of_service(slo, best)]
    if budget.max_usd_per_h is not None and best.usd_per_h is not None:
        chips.append(_below("Cost", best.usd_per_h, budget.max_usd_per_h, _hourly))
    if budget.max_gpus is not None:
        chips.append(_below("GPUs", best.gpus, budget.max_gpus, format_count))
    return tuple(chips)


def _of_service(slo: Slo, best: Evaluation) -> Sequence[Chip]:
    p = best.predicted
    if best.job is not None:
        kept = (("Done after", best.job.interval.upper, slo.job_s, format_duration),)
    else:
        kept = (
            ("First token", p.ttft_interval.upper, slo.ttft_p95_s, format_seconds),
            ("Further tokens", p.tpot_interval.upper, slo.tpot_p95_s, format_seconds),
            ("Whole answer", p.e2e_interval.upper, slo.e2e_p95_s, format_seconds),
        )
    chips = [_below(name, value, most, render) for name, value, most, render in kept if most]
    need = slo.min_output_tokens_per_s
    if need:
        least = p.output_tokens_interval.lower
        limit = f"at least {format_count(need)} tokens/s"
        share, value = least / need - 1, f"{format_count(least)} tokens/s"
        chips.append(_chip("Output", value, limit, share, "more than asked"))
    return chips


def _hourly(usd: float) -> str:
    return f"{format_usd(usd)}/h"


def _below(name: str, value: float, most: float, render: Callable[[float], str]) -> Chip:
    return _chip(name, render(value), f"of {render(most)}", 1 - value / most, "to spare")


def _chip(name: str, value: str, limit: str, share: float, words: str) -> Chip:
    spare = f"{max(0.0, share):.0%} {words}"
    return Chip(name=name, value=value, limit=limit, spare=spare, tight=share < TIGHT)


def _idle(best: Evaluation) -> str:
    """What is billed but not used: nobody rents a part of a node."""
    idle, usd = best.gpus_billed - best.gpus, idle_usd_per_h(best)
    if not idle or not usd:
        return ""
    return (
        f"Billed but unused: {idle} of {best.gpus_billed} GPUs ({format_usd(usd)}/h), since nodes "
        "are rented whole"
    )
