"""Prefill and decode as tasks (paper 3.4.1, 3.5.1): what each computes, reads and sends, and how
long it takes.

Steady-state estimates (`guide.simulate.capacity`) are sums of tasks, the event loop takes the same
step cost, so bounds and simulation cannot disagree.
"""

from __future__ import annotations

from typing import NamedTuple

from guide.domain import ReplicaGroup, StepShape
from guide.perf.adjust import adjust_sequence_length
from guide.perf.pairs import attended
from guide.perf.roofline import roofs_of
from guide.simulate.cost import LayoutCost


class Task(NamedTuple):
    """Equal forward steps of one replica; its tensor-parallel GPUs share each of them (P10)."""

    name: str  # prefill | decode
    steps: float
    shape: StepShape


class Stepping(NamedTuple):
    """What of a replica says which tokens share a step."""

    most_tokens: int  # of a step of all attention ranks, or of a round of all stages
    at_once: int  # batches under way: one for each stage, or each attention rank
    window_tokens: int  # 0: every layer reads the whole context


def stepping_of(group: ReplicaGroup) -> Stepping:
    """How a replica of `group` steps."""
    at_once = group.pp * group.attention_dp
    return Stepping(group.most_tokens, at_once, group.model.window_tokens or 0)


class TaskLoad(NamedTuple):
    """What a task is to each GPU of the replica, over all its steps (P10)."""

    compute_flop: float
    data_bytes: float  # read from and written to GPU memory
    transfer_bytes: float  # sent to the other GPUs


class TaskTime(NamedTuple):
    """Lower bounds by datasheet (P11): no fit, nothing overlaps."""

    compute_s: float
    memory_s: float
    transfer_s: float


def prefill_task(
    stepping: Stepping,
    prompt_tokens: float,
    decodes: int,
    token_budget: int | None = None,
    prompts: int = 1,
) -> Task:
    """One prompt, or several alike at once, cut into segments by the token budget that `decodes`
    running sequences leave: that of a step, unless the scheduler takes another.
    """
    limit = token_budget or stepping.most_tokens
    budget = limit / prompts - decodes
    cut = adjust_sequence_length(prompt_tokens, max(1.0, budget))
    _, inside = attended(0, prompt_tokens, stepping.window_tokens)
    shape = StepShape(
        prefill_tokens=prompts * int(max(1, cut.tokens)),
        prefill_sequences=prompts,
        attended_pairs=prompts * prompt_tokens * prompt_tokens / 2 / cut.count,
        window_pairs=prompts * inside / cut.count,
        decode_sequences=decodes,
        sampled_sequences=decodes + prompts,
    )
    return Task("prefill", cut.count, shape)


def decode_task(stepping: Stepping, batch: int, context_tokens: float, steps: float) -> Task:
    """`steps` decode steps of `batch` sequences with that much context each."""
    inside = min(context_tokens, stepping.window_tokens)
    shape = StepShape(
        decode_sequences=batch,
        decode_context_tokens=batch * context_tokens,
        decode_window_tokens=batch * inside,
        sampled_sequences=batch,
    )
    return Task("decode", steps, shape)


def task_seconds(task: Task, cost: LayoutCost) -> float:
    """How long a task takes under the fitted step cost: compute and memory overlap, transfers and
    launches add up (P11)."""
    s = task.shape
    if not s.prefill_sequences:
        decodes = int(s.decode_sequences)
        return task.steps * cost.decode_run(
            1, decodes, s.decode_context_tokens, s.decode_window_tokens
        )
    return task.steps * cost.prompt_step(
        int(s.prefill_tokens),
        int(s.prefill_sequences),
        s.attended_pairs,
        s.window_pairs,
        int(s.decode_sequences),
        s.decode_context_tokens,
        s.decode_window_tokens,
        int(s.sampled_sequences),
    )


def task_load(task: Task, group: ReplicaGroup) -> TaskLoad:
    """The work of a task for one GPU, from the operator table."""
    rows = roofs_of(group, task.shape)
    link = group.gpu.link.bytes_per_s
    return TaskLoad(
        compute_flop=task.steps * sum(row.flop for row in rows),
        data_bytes=task.steps * sum(row.bytes for row in rows),
        transfer_bytes=task.steps * sum(row.network_s for row in rows) * link,
    )


def task_time(task: Task, group: ReplicaGroup) -> TaskTime:
    """Compute, memory and transfer time of a task on the group's GPU, each at its full rate."""
    rows = roofs_of(group, task.shape)
    return TaskTime(
        compute_s=task.steps * sum(row.compute_s for row in rows),
        memory_s=task.steps * sum(row.memory_s for row in rows),
        transfer_s=task.steps * sum(row.network_s for row in rows),
    )
