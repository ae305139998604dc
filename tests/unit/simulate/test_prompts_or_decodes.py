"""A server that admits by what clients allow: who enters, who is sent back, and who waits."""

from __future__ import annotations

import pytest

from guide.domain import SchedulerPolicy, Scheduling
from guide.simulate.admission import CLIP_TOKENS, FIRST_SHARE, LEAST_SHARE, Admission
from guide.simulate.cost import LayoutCost
from guide.simulate.replica import NEVER, ReplicaLoop
from tests.step_by_step import FACTS, PARAMS


class Logged(LayoutCost):
    """Writes down the steps: prompt tokens, sequences, decodes."""

    def __init__(self) -> None:
        super().__init__(FACTS, PARAMS)
        self.steps: list[tuple[int, int, int]] = []

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
        self.steps.append((tokens, sequences, decodes))
        return super().prompt_step(
            tokens, sequences, pairs, window_pairs, decodes, context, window_context, sampled
        )

    def decode_run(self, steps: int, decodes: int, context: float, window_context: float) -> float:
        self.steps.append((0, 0, decodes))
        return super().decode_run(steps, decodes, context, window_context)


def replica(
    prompts: list[int],
    outputs: list[int],
    *,
    blocks: int = 10**6,
    page: int = 1,
    gap_s: float = 0.0,
    **policy: int,
) -> ReplicaLoop:
    fields = {"max_num_seqs": 64, "token_budget": 64} | policy
    loop = ReplicaLoop(
        SchedulerPolicy(
            scheduling=Scheduling.PREFILL_OR_DECODE,
            block_tokens=page,
            kv_blocks=blocks,
            mixed_chunk=bool(fields.pop("mixed", 0)),
            **fields,
        ),
        Logged(),
        prompts,
        outputs,
        [gap_s * i for i in range(len(prompts))],
    )
    loop.run()
    return loop


def steps_of(loop: ReplicaLoop) -> list[tuple[int, int, int]]:
    assert isinstance(loop.cost, Logged)
    return loop.cost.steps


def test_decodes_wait_while_prompts_can_enter():
    """A chunk is carried over, others share its step, and nobody decodes before the queue is
    empty.
    """
    loop = replica([100, 20, 70], [5, 5, 5])
    prompts = [(64, 1, 0), (64, 3, 0), (62, 1, 0)]
    assert steps_of(loop)[:3] == prompts
    assert all(step[2] for step in steps_of(loop)[3:])


def test_mixed_chunks_let_decodes_ride_along():
    loop = replica([60, 200], [50, 5], mixed=1)
    first, *others = steps_of(loop)
    assert first == (64, 2, 0)
    assert [step for step in others if step[0]][:2] == [(63, 1, 1), (63, 1, 1)]


def test_chunks_are_whole_pages():
    loop = replica([100], [2], page=48, token_budget=96)
    assert steps_of(loop)[:2] == [(96, 1, 0), (4, 1, 0)]


def test_max_tokens_of_clients_decides_how_many_run_at_once():
    """Answers of 20 tokens; whoever asks for 400 is admitted as if most of that were needed."""
    prompts, outputs = [10] * 20, [20] * 20
    stated = replica(prompts, outputs, blocks=700)
    careless = replica(prompts, outputs, blocks=700, max_new_tokens=400)
    assert max(decodes for _, _, decodes in steps_of(stated)) == 20
    assert max(decodes for _, _, decodes in steps_of(careless)) == 1
    assert not careless.preemptions
    assert careless.clock > 2 * stated.clock


def test_the_head_of_the_queue_holds_up_the_others():
    loop = replica([10, 500, 10], [100, 100, 1], blocks=620, token_budget=1000)
    assert loop.start_s[1] >= loop.finish_s[0]
    assert loop.start_s[2] >= loop.start_s[1]


def test_a_retraction_takes_the_shortest_answers_to_the_end_of_the_queue():
    """Each that comes enters by 0.7 of what the others need: memory runs out, and the last to
    come, which have the shortest answers, go behind those that never entered.
    """
    outputs = [100] * 9 + [300] * 3
    loop = replica([10] * 12, outputs, blocks=850, gap_s=0.01, token_budget=1000)
    assert loop.preemptions == 2
    assert loop.starved
    assert not loop.refused
    assert list(loop.generated) == outputs
    assert max(loop.first_token_s[:9]) < max(loop.finish_s[:7]) <= loop.start_s[9]
    assert all(loop.finish_s[sent_back] > loop.start_s[11] for sent_back in (7, 8))
    assert loop.free_blocks == 850


def test_what_can_never_fit_is_refused():
    loop = replica([10, 900, 10], [5, 5, 2000], blocks=500)
    assert loop.refused == [1, 2]
    assert loop.finish_s[0] < NEVER


def test_the_share_falls_over_600_decode_steps_and_begins_anew():
    admission = Admission(2)
    admission.enter(0, 1000)
    assert admission.expected_tokens() == pytest.approx(FIRST_SHARE * 1000)
    admission.decoded(300, falls=True)
    assert admission.expected_tokens() == pytest.approx((FIRST_SHARE + LEAST_SHARE) / 2 * 700)
    admission.decoded(300, falls=True)
    assert admission.share == pytest.approx(0.098)
    admission.retracted(generated=600, may_have=999, count=5)
    assert admission.share == pytest.approx(0.7)
    admission.idle()
    assert admission.share == FIRST_SHARE


def test_what_may_be_asked_is_clipped_until_less_is_left():
    admission = Admission(2)
    admission.enter(0, CLIP_TOKENS + 10)
    admission.enter(1, 50)
    for steps, left in ((0, CLIP_TOKENS + 50), (10, CLIP_TOKENS + 40), (5, CLIP_TOKENS + 30)):
        admission.decoded(steps, falls=False)
        assert admission.expected_tokens() == pytest.approx(FIRST_SHARE * left)
    admission.renumber([1, 0])
    admission.leave(1)
    assert admission.expected_tokens() == pytest.approx(FIRST_SHARE * 35)
