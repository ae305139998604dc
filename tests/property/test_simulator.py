"""Invariants of the simulator, numbered as in DESIGN.md, over schedulers, loads and block pools."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from guide.domain import Scheduling
from guide.simulate.cost import LayoutCost, StepCost
from guide.simulate.replica import NEVER, ReplicaLoop
from tests.step_by_step import FACTS, PARAMS, Case, StepByStep, cases


@dataclass
class Watched(StepCost):
    """A step cost that looks at the replica whenever a step is about to run."""

    inner: LayoutCost = field(default_factory=lambda: LayoutCost(FACTS, PARAMS))
    replica: ReplicaLoop | None = None
    events: int = 0
    busy_until: float = 0.0
    sampled: int = 0

    def prompt_step(
        self,
        tokens: int,
        sequences: int,
        pairs: float,
        window_pairs: float,
        decodes: int,
        context: float,
        window_context: float,
        sampled: int,
    ) -> float:
        assert self.replica is not None
        policy = self.replica.policy
        seconds = self.inner.prompt_step(
            tokens, sequences, pairs, window_pairs, decodes, context, window_context, sampled
        )
        self._look(seconds)
        assert sequences + len(self.replica.decoding) <= policy.max_num_seqs, "INV-6"
        whole = policy.scheduling == Scheduling.PREFILL_FIRST
        assert tokens + decodes <= policy.token_budget or (whole and sequences == 1), "INV-7"
        assert decodes == (len(self.replica.decoding) if policy.mixes else 0)
        self.sampled += sampled
        return seconds

    def decode_run(self, steps: int, decodes: int, context: float, window_context: float) -> float:
        assert self.replica is not None
        policy = self.replica.policy
        seconds = self.inner.decode_run(steps, decodes, context, window_context)
        self._look(seconds)
        assert decodes == len(self.replica.decoding) <= policy.max_num_seqs, "INV-6"
        if policy.scheduling in (Scheduling.TOKEN_BUDGET, Scheduling.SPLIT_FUSE):
            assert decodes <= policy.token_budget, "INV-7"
        self.sampled += steps * decodes
        return seconds

    def decode_steps_within(
        self, seconds: float, decodes: int, context: float, window_context: float, growing: int
    ) -> int:
        return self.inner.decode_steps_within(seconds, decodes, context, window_context, growing)

    def _look(self, seconds: float) -> None:
        replica = self.replica
        assert replica is not None
        self.events += 1
        assert seconds > 0
        self._idle_only_when_empty(replica)
        self.busy_until = replica.clock + seconds
        decoding = replica.decoding
        lengths = {
            m: decoding.length[m] + decoding.tick - decoding.entered[m] for m in decoding.members
        }
        # INV-2
        size = replica.policy.block_tokens
        used = sum(-(-length // size) for length in lengths.values())
        used += sum(n for r, n in enumerate(replica.blocks) if r not in lengths)
        assert used + replica.free_blocks == replica.policy.kv_blocks
        assert 0 <= replica.free_blocks <= replica.policy.kv_blocks
        assert replica.block_peak <= replica.policy.kv_blocks
        # INV-5
        assert decoding.context_sum == sum(lengths.values())
        if replica.window:
            window = replica.window
            assert decoding.window_sum == sum(min(n, window) for n in lengths.values())
            assert decoding.growing == {m for m, n in lengths.items() if n < window}
        for ahead in range(size):
            needy = sum((length + ahead) % size == 0 for length in lengths.values())
            assert decoding.residue[(decoding.tick + ahead) % size] == needy
        assert decoding.blocks_next() == sum(n % size == 0 for n in lengths.values())

    def _idle_only_when_empty(self, replica: ReplicaLoop) -> None:
        """INV-9."""
        if replica.clock > self.busy_until:
            here = {r for r, t in enumerate(replica.arrival_s) if t <= self.busy_until}
            gone = {r for r, t in enumerate(replica.finish_s) if t < NEVER} | set(replica.refused)
            assert here <= gone


def run(case: Case) -> tuple[ReplicaLoop, Watched]:
    cost = Watched()
    cost.replica = case.replica(cost)
    cost.replica.run()
    return cost.replica, cost


@given(cases())
def test_conservation(case: Case):
    """INV-1: arrived = finished + refused, each once, and a finished request has all its tokens."""
    replica, cost = run(case)
    count = len(case.prompts)
    finished = [r for r in range(count) if replica.finish_s[r] < NEVER]
    assert len(replica.refused) == len(set(replica.refused))
    assert sorted(finished + replica.refused) == list(range(count))
    assert all(replica.generated[r] == case.outputs[r] for r in finished)
    assert cost.sampled == sum(replica.generated)
    assert not replica.waiting
    assert not replica.partial
    assert not replica.decoding.members
    assert all(t < NEVER for t in replica.arrival_s)


@given(cases())
def test_blocks(case: Case):
    """INV-2: used + free = total at every event (Watched), and all are free at the end."""
    replica, cost = run(case)
    assert replica.free_blocks == case.policy.kv_blocks
    assert not any(replica.blocks)
    assert cost.events or len(replica.refused) == len(case.prompts)


@given(cases())
def test_causality(case: Case):
    """INV-3: arrival <= start <= first token <= finish <= end; a refused request has no times."""
    replica, _ = run(case)
    for r in range(len(case.prompts)):
        times = (replica.start_s[r], replica.first_token_s[r], replica.finish_s[r])
        if r in replica.refused:
            assert times == (NEVER, NEVER, NEVER)
        else:
            assert replica.arrival_s[r] <= times[0] < times[1] <= times[2] <= replica.clock
            assert (times[1] == times[2]) == (case.outputs[r] == 1)


@given(cases())
def test_determinism(case: Case):
    """INV-4: two runs agree bit by bit."""
    first, second = run(case)[0], run(case)[0]
    assert list(first.finish_s) == list(second.finish_s)
    assert list(first.first_token_s) == list(second.first_token_s)
    assert (first.preemptions, first.refused) == (second.preemptions, second.refused)


@given(cases(tight=False))
def test_a_pool_for_everything_never_preempts(case: Case):
    """INV-10: with a block for every token nothing is preempted or refused (V0 keeps 1 % free)."""
    replica, _ = run(case)
    assert not replica.preemptions
    if case.policy.scheduling != Scheduling.PREFILL_FIRST:
        assert not replica.refused


@given(cases(), st.integers(1, 50))
def test_a_run_that_never_waited_for_blocks_is_that_of_any_larger_pool(case: Case, more: int):
    """INV-11."""
    replica, _ = run(case)
    assume(not replica.starved)
    policy = replace(case.policy, kv_blocks=case.policy.kv_blocks + more)
    larger, _ = run(replace(case, policy=policy))
    assert not larger.starved
    assert list(replica.finish_s) == list(larger.finish_s)
    assert list(replica.first_token_s) == list(larger.first_token_s)
    assert replica.block_peak == larger.block_peak


@given(cases())
def test_jumps_equal_steps(case: Case):
    """INV-8: events with closed-form runs between them finish requests when single steps do."""
    replica, cost = run(case)
    assume(not replica.preemptions and not replica.refused)
    slow = StepByStep(case)
    assert list(replica.finish_s) == pytest.approx(slow.run(), rel=1e-9)
    assert cost.busy_until == pytest.approx(replica.clock, rel=1e-12)


@given(st.floats(1e-4, 3.0), st.integers(1, 300), st.integers(1, 4000), st.floats(0, 1))
def test_a_jump_to_an_arrival_is_the_shortest_that_reaches_it(
    gap_s: float, decodes: int, context: int, grow: float
):
    """INV-8: the root of the closed form, with contexts growing also inside the window."""
    cost = LayoutCost(FACTS, PARAMS)
    growing = round(grow * decodes)
    total, inside = decodes * context, decodes * min(context, 128)

    def seconds(steps: int) -> float:
        half = (steps - 1) / 2
        return cost.decode_run(steps, decodes, total + decodes * half, inside + growing * half)

    steps = cost.decode_steps_within(gap_s, decodes, total, inside, growing)
    assert seconds(steps) >= gap_s * (1 - 1e-9)
    assert steps == 1 or seconds(steps - 1) < gap_s * (1 + 1e-9)
