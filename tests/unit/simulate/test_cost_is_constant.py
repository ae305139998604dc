"""A simulated step costs O(1) in batch size, and a run of decode steps O(1) in its length.

Work is counted in executed lines, which is the same on any machine and under any load.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from guide.catalog import load
from guide.domain import SchedulerPolicy, Scheduling
from guide.models.precision import PRECISIONS
from guide.perf.fits import PARAMETERS, constants, latent_centre
from guide.perf.ops import Layout
from guide.perf.step import fold
from guide.simulate.cost import LayoutCost
from guide.simulate.decoding import DecodeSet
from guide.simulate.replica import NEVER, ReplicaLoop

CATALOG = load()
ARCH = CATALOG.models["openai/gpt-oss-20b"]
FACTS = fold(ARCH, CATALOG.gpus["H100-SXM"], PRECISIONS["mxfp4"], Layout())
PARAMS, _ = constants({q.name: latent_centre(q) for q in PARAMETERS})


def lines(work: Callable[[], None]) -> int:
    """Lines of Python executed by `work`, comprehensions and calls included."""
    count = 0

    def trace(frame: FrameType, event: str, arg: object):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


class Counted(LayoutCost):
    steps = 0

    def decode_run(self, steps: int, decodes: int, context: float, window_context: float) -> float:
        self.steps += 1
        return super().decode_run(steps, decodes, context, window_context)


def replica(scheduling: Scheduling, batch: int, output: int, late: int = 0) -> ReplicaLoop:
    """`batch` sequences that decode from the start, and `late` requests that arrive one by one."""
    count = batch + late
    policy = SchedulerPolicy(
        scheduling=scheduling,
        max_num_seqs=2 * count,
        token_budget=100_000,
        block_tokens=16,
        kv_blocks=count * (100 + output),
    )
    return ReplicaLoop(
        policy,
        Counted(FACTS, PARAMS),
        [50] * count,
        [output] * batch + [1] * late,
        [0.0] * batch + [0.5 + 0.01 * i for i in range(late)],
        window=ARCH.window_tokens,
    )


@pytest.mark.parametrize("scheduling", list(Scheduling))
def test_an_event_costs_the_same_beside_any_batch(scheduling: Scheduling):
    """A hundred arrivals beside 8 running sequences or beside 512: the difference is their entry.

    The lines of the bare batch are subtracted, so what is left belongs to the hundred arrivals.
    """

    def arrivals(batch: int) -> int:
        with_, without = (replica(scheduling, batch, 4000, late) for late in (100, 0))
        return lines(with_.run) - lines(without.run)

    few, many = arrivals(8), arrivals(512)
    assert few > 2_000  # they are really simulated
    assert many < 1.1 * few


def test_a_run_of_decode_steps_costs_the_same_at_any_length():
    short, long_ = (replica(Scheduling.TOKEN_BUDGET, 8, output) for output in (400, 40_000))
    few, many = lines(short.run), lines(long_.run)
    assert many < 1.1 * few
    assert isinstance(long_.cost, Counted)
    assert long_.cost.steps < 20
    assert long_.decoding.tick == 39_999
    assert all(t < NEVER for t in long_.finish_s)


@pytest.mark.parametrize("what", ["advance", "mean_sums", "blocks_for", "steps_within_blocks"])
def test_sums_of_a_step_cost_the_same_at_any_batch(what: str):
    def work(batch: int) -> int:
        decoding = DecodeSet(batch, 16, 128)
        for request in range(batch):
            # past the window: outgrowing it is an event, once a sequence
            decoding.enter(request, 200 + request % 60, 10_000)
        calls: dict[str, Callable[[], object]] = {
            "advance": lambda: decoding.advance(1),
            "mean_sums": lambda: decoding.mean_sums(7),
            "blocks_for": lambda: decoding.blocks_for(7),
            "steps_within_blocks": lambda: decoding.steps_within_blocks(7, 3 * batch),
        }
        return lines(lambda: [calls[what]() for _ in range(20)] and None)

    assert work(4096) <= 1.05 * work(16)
