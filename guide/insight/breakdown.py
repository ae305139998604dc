"""Where the time of a step goes: `guide.perf.formula` evaluated with all but one part switched off.

The formula of a step is a sum of parts, each of which vanishes with its facts (or, for the host,
with its constants); so the parts need no second formula, and add up to the step.
"""

from __future__ import annotations

from guide.domain import StepShape
from guide.perf.formula import step_seconds
from guide.perf.terms import NO_WORK, KernelWork, StepFacts, StepParams

HOST = ("c0", "cl", "cm", "cq", "cs", "cb", "cp", "clp")
FACTS = {
    "dense": ("dense_s", "dense_token_s"),
    "experts": ("expert_s", "expert_token_s"),
    "head": ("head_s", "head_sequence_s"),
    "kv": (
        *("kv_token_s", "window_token_s", "kernel_context_s", "kernel_window_s"),
        "state_sequence_s",
    ),
    "attention": (
        *("pair_s", "window_pair_s", "pair_memory_s", "window_pair_memory_s"),
        *("kernel_pair_s", "kernel_window_pair_s"),
    ),
    "network": ("all_reduces", "all_reduce_token_s"),
    "element-wise": ("elementwise_token_s",),
}
WORK = {"dense": "dense", "experts": "expert", "network": "network"}  # by measured kernels
_PRICED_BY = {  # which fitted constants price each part; and all of them, `k_step`
    "host": HOST,
    "dense": ("share_w", "share_c", "ramp", "decode_c", "decode_h", "p", "k_dense", "k_prompt"),
    "experts": ("share_ew", "share_ec", "ramp_e", "p", "k_expert", "k_prompt_expert"),
    "head": ("share_w", "share_c", "p"),
    "kv": ("share_kv", "gqa", "v1", "v1_len", "k_context", "share_w"),
    "attention": ("share_a", "k_pair"),
    "network": ("ca", "share_l", "k_network"),
    "element-wise": ("share_w",),
}
CONSTANTS = {part: (*names, "k_step") for part, names in _PRICED_BY.items()}
PARTS = tuple(CONSTANTS)
NUDGE = 1.01


def breakdown(
    facts: StepFacts, params: StepParams, shape: StepShape, work: KernelWork = NO_WORK
) -> dict[str, float]:
    """Seconds of each part of a step of `shape`; their sum is `step_seconds`.

    `work` is what measured kernels say of the step.
    """
    found: dict[str, float] = {}
    for part in PARTS:
        own = WORK.get(part)
        share = NO_WORK if own is None else NO_WORK._replace(**{own: getattr(work, own)})
        found[part] = step_seconds(*_only(part, facts, params), shape, share)
    return found


def _only(part: str, facts: StepFacts, params: StepParams) -> tuple[StepFacts, StepParams]:
    off = [name for other, names in FACTS.items() if other != part for name in names]
    host = {} if part == "host" else dict.fromkeys(HOST, 0.0)
    return facts._replace(**dict.fromkeys(off, 0.0)), params._replace(**host)


def elasticities(
    facts: StepFacts, params: StepParams, shape: StepShape, work: KernelWork = NO_WORK
) -> dict[str, float]:
    """By how many percent a step gets longer when a constant grows by one percent."""
    before = step_seconds(facts, params, shape, work)
    found: dict[str, float] = {}
    for name in StepParams._fields:
        nudged = params._replace(**{name: getattr(params, name) * NUDGE})
        found[name] = (step_seconds(facts, nudged, shape, work) / before - 1) / (NUDGE - 1)
    return found
