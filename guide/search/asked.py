"""What a plan asks of each replica, whatever the load: lengths, their tails, and the context."""

from __future__ import annotations

import math

from msgspec.structs import replace

from guide.domain import Plan, Workload
from guide.record import Record
from guide.search.promised import promised_context_tokens
from guide.simulate.arrivals import quantile_tokens, within
from guide.simulate.sessions import own_lengths

SURE_QUANTILE = 0.92  # of the lengths: see `tails`


class Tails(Record, frozen=True, kw_only=True):
    """Lower bounds of the 95th percentile of the simulated prompt and output lengths."""

    prompt_tokens: float
    output_tokens: float


class Asked(Record, frozen=True, kw_only=True):
    """What is asked of a replica, whatever the load: no service level, no budget and no rate of an
    open loop has a say in its operating point."""

    workload: Workload
    context_tokens: int
    long: Tails


def asked_of(plan: Plan) -> Asked:
    """What `plan` asks of each of its replicas."""
    workload, needed = plan.workload, promised_context_tokens(plan)
    rate = None if workload.requests_per_s is None else 1.0
    batch = None if workload.offline is None else 1
    return Asked(
        workload=replace(workload, requests_per_s=rate, arrival_cv=1.0, offline=batch),
        context_tokens=needed,
        long=tails(workload, needed),
    )


def tails(workload: Workload, longest_tokens: int) -> Tails:
    """The tails of `workload`: quantiles that the 95th percentile of no sample falls below.

    A run draws the lengths of its requests without repetition (`guide.simulate.arrivals`), at least
    600, and counts two fifths of them or more: three standard errors of that part's 95th lie above.
    Of prompts that begin alike the rest is drawn.
    """
    drawn, alike = workload.prompt, 0
    if workload.prefixes is not None:
        drawn = own_lengths(workload, workload.prefixes)
        alike = workload.prefixes.shared_tokens
    prompt, output = (
        math.floor(max(1.0, quantile_tokens(side, SURE_QUANTILE)))
        for side in (drawn, workload.output)
    )
    prompt, output = within(longest_tokens, alike + prompt, output)
    return Tails(prompt_tokens=prompt, output_tokens=output)
