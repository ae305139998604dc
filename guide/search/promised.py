"""The context that a plan promises its requests, stated or not."""

from __future__ import annotations

import math

from msgspec.structs import replace

from guide.domain import Plan, Workload
from guide.search.bounds import Broken
from guide.simulate.capacity import request_tokens

CONTEXT_MEANS = 4  # without a p95, how many mean requests the context must hold


def promised_context_tokens(plan: Plan) -> int:
    """The context that every request of the plan needs, whether stated or not.

    Stated: ``maxContextTokens``. Else p95 of the prompt plus p95 of the output; without a p95, four
    mean requests, but never more than the model takes, since those four are a guess.
    """
    workload = plan.workload
    if workload.max_context_tokens is not None:
        return workload.max_context_tokens
    prompt, output = workload.prompt, workload.output
    if prompt.p95_tokens is not None and output.p95_tokens is not None:
        return math.ceil(prompt.p95_tokens + output.p95_tokens)
    ends = [
        CONTEXT_MEANS * side.mean_tokens if side.p95_tokens is None else side.p95_tokens
        for side in (prompt, output)
    ]
    return max(
        math.ceil(request_tokens(workload)),
        min(math.ceil(sum(ends)), plan.model.max_context_tokens),
    )


def unstated_p95(workload: Workload) -> list[str]:
    """The sides of which the plan states no p95: inputTokens, outputTokens."""
    sides = {"inputTokens": workload.prompt, "outputTokens": workload.output}
    return [name for name, lengths in sides.items() if lengths.p95_tokens is None]


def guessed(workload: Workload, broken: Broken | None) -> Broken | None:
    """The same limit, which says so where the context that breaks it was not stated."""
    sides = unstated_p95(workload)
    if broken is None or not sides or workload.max_context_tokens is not None:
        return broken
    return replace(
        broken,
        detail=f"{broken.detail} (no p95 of {' and '.join(sides)} stated: {CONTEXT_MEANS} x the "
        "mean reserved; state p95 = mean for fixed lengths)",
    )
