"""One replica as an event loop: a queue, KV blocks, and the steps that a scheduler forms.

The loop jumps from event to event. Between two events (a finish, a prompt, an arrival, an empty
block pool) every step is a decode of the same sequences, whose time is affine in its index, so any
number of steps has a closed form: the cost grows with requests, not with tokens, and never with the
batch size.

Three schedulers (`guide.domain.Scheduling`): vLLM V0 runs whole prompts first; vLLM V1 gives one
token budget to decodes and then to chunks of prompts; FastGen's Dynamic SplitFuse does the same
with a fixed budget and admits a prompt only when all of it fits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from guide.domain import SchedulerPolicy, Scheduling
from guide.perf.step import attended
from guide.simulate.cost import StepCost
from guide.simulate.decoding import DecodeSet

NEVER = float("inf")


def blocks_of(tokens: int, policy: SchedulerPolicy) -> int:
    """Whole KV blocks that `tokens` take."""
    return -(-tokens // policy.block_tokens)


@dataclass(slots=True)
class _Prompts:
    """Prompt work gathered for one step."""

    tokens: int = 0
    sequences: int = 0
    pairs: float = 0.0
    window_pairs: float = 0.0
    complete: list[int] = field(default_factory=list[int])


class ReplicaLoop:
    """State of one simulated replica. Times in seconds; requests are indices into the given arrays.

    `arrivals` hold NEVER for requests of a closed loop that wait for another to finish. After
    `run`, `start_s`, `first_token_s` and `finish_s` hold one value a request, NEVER for those in
    `refused`, which can never fit.
    """

    def __init__(
        self,
        policy: SchedulerPolicy,
        cost: StepCost,
        prompts: Sequence[int],
        outputs: Sequence[int],
        arrivals: Sequence[float],
        *,
        window: int | None = None,
        cached: Sequence[int] | None = None,
        closed_users: int | None = None,
    ) -> None:
        n = len(prompts)
        self.policy, self.cost, self.window = policy, cost, window or 0
        self.prompt, self.output = list(prompts), list(outputs)
        self.cached = list(cached) if cached is not None else [0] * n
        self.arrival_s = list(arrivals)
        self.start_s, self.first_token_s, self.finish_s = [NEVER] * n, [NEVER] * n, [NEVER] * n
        self.clock = 0.0
        self.next_arrival = 0  # index of the next request to arrive
        self.closed = closed_users is not None
        self.known = n if closed_users is None else min(closed_users, n)  # requests with an arrival
        self.waiting: deque[int] = deque()
        self.generated = [0] * n  # tokens produced so far
        self.computed = [0] * n  # tokens of the present (re)computation in the cache
        self.partial: deque[int] = deque()  # admitted, prompt not finished
        self.decoding = DecodeSet(n, policy.block_tokens, self.window)
        self.free_blocks = policy.kv_blocks
        self.blocks = [0] * n
        self.fewest_free = policy.kv_blocks
        self.starved = False  # whether anything ever waited for blocks
        self.preemptions = 0
        self.refused: list[int] = []

    @property
    def block_peak(self) -> int:
        """Most KV blocks held at any moment."""
        return self.policy.kv_blocks - self.fewest_free

    @property
    def kv_peak_share(self) -> float:
        """The same as a share of all."""
        return self.block_peak / self.policy.kv_blocks

    # -- the loop --------------------------------------------------------------------------------

    def run(self, *, more: bool = False) -> None:
        """Serve every request to its end; with `more`, until the last one has arrived: what comes
        then depends on the next arrival, which is not known yet.
        """
        prefill_first = self.policy.scheduling == Scheduling.PREFILL_FIRST
        form = self._whole_prompts if prefill_first else self._chunked_prompts
        while True:
            if self.next_arrival < self.known:
                self._arrive()
            if more and self.next_arrival >= self.known:
                return
            if (self.partial or (self.waiting and self._has_slot)) and form():
                continue
            if self.decoding.members:
                self._decode()
            elif self.waiting or self.partial:
                self._unblock()
            elif self.next_arrival >= self.known:
                return
            else:
                self.clock = max(self.clock, self.arrival_s[self.next_arrival])

    @property
    def _has_slot(self) -> bool:
        """Whether the batch has room for one more that waits."""
        return len(self.decoding.members) + len(self.partial) < self.policy.max_num_seqs

    def _arrive(self) -> None:
        while self.next_arrival < self.known and self.arrival_s[self.next_arrival] <= self.clock:
            self.waiting.append(self.next_arrival)
            self.next_arrival += 1

    def _unblock(self) -> None:
        """Nothing runs and nothing can be admitted: drop a half-done prompt, or refuse the one."""
        if len(self.partial) > 1:
            self._back_to_queue(self.partial.pop())
            return
        self._refuse((self.partial or self.waiting).popleft())

    def _next_user(self) -> None:
        if self.closed and self.known < len(self.prompt):
            self.arrival_s[self.known] = self.clock
            self.known += 1

    # -- forming steps ---------------------------------------------------------------------------

    def _target(self, request: int) -> int:
        """Tokens to (re)compute before it decodes: its prompt and what it generated."""
        return self.prompt[request] + self.generated[request]

    def _hit(self, request: int) -> int:
        """Tokens found in the prefix cache; the last one is always computed."""
        return min(self.cached[request], self._target(request) - 1)

    def _whole_prompts(self) -> bool:
        policy, work = self.policy, _Prompts()
        reserve = policy.watermark_share * policy.kv_blocks
        while self.waiting and len(self.decoding) + work.sequences < policy.max_num_seqs:
            request = self.waiting[0]
            length, hit = self._target(request), self._hit(request)
            need = blocks_of(length, policy)
            if work.sequences and work.tokens + length - hit > policy.token_budget:
                break
            if self.free_blocks - need < reserve:
                self.starved = True
                break
            self.waiting.popleft()
            self._take(request, need)
            self._add(work, request, hit, length - hit)
            work.complete.append(request)
        return self._run_prompts(work) if work.tokens else False

    def _chunked_prompts(self) -> bool:
        policy, decodes = self.policy, len(self.decoding.members)
        promised = self.decoding.blocks_next()  # decodes take their blocks first
        budget = policy.token_budget - decodes
        if budget <= 0 or promised > self.free_blocks:
            self.starved = self.starved or promised > self.free_blocks
            return False
        work = _Prompts()
        for request in tuple(self.partial):
            used = self._chunk(work, request, budget, promised)
            if not used:
                break
            budget -= used
        whole = policy.scheduling == Scheduling.SPLIT_FUSE
        while budget > 0 and self.waiting and decodes + len(self.partial) < policy.max_num_seqs:
            request = self.waiting[0]
            needed = blocks_of(self._target(request), policy)
            if whole and needed > self.free_blocks - promised:
                self.starved = True
                break
            self.computed[request] = self._hit(request)
            used = self._chunk(work, request, budget, promised)
            if not used:
                break
            self.waiting.popleft()
            self.partial.append(request)
            budget -= used
        return self._run_prompts(work) if work.tokens else False

    def _chunk(self, work: _Prompts, request: int, budget: int, promised: int) -> int:
        """Add the request's next chunk to the step; 0 when the budget or the blocks forbid it."""
        before, target = self.computed[request], self._target(request)
        used = min(budget, target - before)
        need = blocks_of(before + used, self.policy) - self.blocks[request]
        if used <= 0 or need > self.free_blocks - promised:
            self.starved = self.starved or used > 0
            return 0
        self._take(request, need)
        self.computed[request] = before + used
        self._add(work, request, before, used)
        if before + used == target:
            work.complete.append(request)
        return used

    def _add(self, work: _Prompts, request: int, before: int, new: int) -> None:
        full, window = attended(before, new, self.window)
        work.tokens += new
        work.sequences += 1
        work.pairs += full
        work.window_pairs += window
        if self.start_s[request] == NEVER:
            self.start_s[request] = self.clock

    def _run_prompts(self, work: _Prompts) -> bool:
        """Run one step with prompt work; under a token budget decodes ride along."""
        mixed = self.policy.scheduling != Scheduling.PREFILL_FIRST
        decodes = len(self.decoding) if mixed else 0
        self.clock += self.cost.prompt_step(
            work.tokens,
            work.sequences,
            work.pairs,
            work.window_pairs,
            decodes,
            self.decoding.context_sum if mixed else 0,
            self.decoding.window_sum if mixed else 0,
            decodes + len(work.complete),
        )
        if decodes:
            self._tick(1)
        for request in work.complete:
            if mixed:
                self.partial.remove(request)
            self._first_or_next_token(request)
        return True

    # -- decoding --------------------------------------------------------------------------------

    def _decode(self) -> None:
        """Run decode steps up to the next event."""
        decoding, members = self.decoding, len(self.decoding.members)
        steps = decoding.steps_to_event()
        if steps > 1 and self.next_arrival < self.known and (self.partial or self._has_slot):
            # whoever finds the batch full waits for an end, however many arrive until then
            gap = self.arrival_s[self.next_arrival] - self.clock
            sums = (decoding.context_sum, decoding.window_sum, len(decoding.growing))
            steps = min(steps, self.cost.decode_steps_within(gap, members, *sums))
        while (possible := decoding.steps_within_blocks(steps, self.free_blocks)) < steps:
            self.starved = True
            if possible:
                break
            self._preempt()
            if not decoding.members:
                return
        members = len(decoding.members)
        self.clock += self.cost.decode_run(possible, members, *decoding.mean_sums(possible))
        self._tick(possible)

    def _tick(self, steps: int) -> None:
        self._occupy(self.decoding.blocks_for(steps))
        for request in self.decoding.advance(steps):
            self._leave(request)
            self._end(request)

    def _first_or_next_token(self, request: int) -> None:
        """The prompt is computed and one token sampled: decode from here on."""
        if self.first_token_s[request] == NEVER:  # else it was preempted after its first
            self.first_token_s[request] = self.clock
        length = self._target(request)
        self.generated[request] += 1
        if self.generated[request] >= self.output[request]:
            self._end(request)
            return
        self.decoding.enter(request, length, self.output[request] - self.generated[request])

    def _leave(self, request: int) -> int:
        length, grown = self.decoding.leave(request)
        self.blocks[request] = blocks_of(length, self.policy)
        self.generated[request] += grown
        return length

    def _end(self, request: int) -> None:
        self.finish_s[request] = self.clock
        self._release(request)
        self._next_user()

    def _refuse(self, request: int) -> None:
        """It can never fit: it leaves without a time, also one that had begun to answer."""
        self.start_s[request] = self.first_token_s[request] = NEVER
        self.refused.append(request)
        self._release(request)
        self._next_user()

    def _preempt(self) -> None:
        """Out of blocks: recompute the newest later (FastGen: all of them, its deadlock flush)."""
        if self.partial:
            self._back_to_queue(self.partial.pop())
            return
        members = self.decoding.members
        victims = [self.decoding.newest()]
        if len(members) == 1:  # alone and still too long for the cache
            self._leave(victims[0])
            self._refuse(victims[0])
            return
        if self.policy.scheduling == Scheduling.SPLIT_FUSE:
            victims = list(reversed(members))
        for request in victims:
            self.computed[request] = self._leave(request)
            self._back_to_queue(request)

    # -- blocks ----------------------------------------------------------------------------------

    def _back_to_queue(self, request: int) -> None:
        """Preempted: its blocks are freed, and some may still hold its tokens when it returns."""
        kept = int(self.policy.resume_hit_share * self.computed[request])
        self.cached[request] = max(self.cached[request], kept)
        self.computed[request] = 0
        self._release(request)
        self.waiting.appendleft(request)
        self.preemptions += 1

    def _take(self, request: int, blocks: int) -> None:
        self.blocks[request] += blocks
        self._occupy(blocks)

    def _occupy(self, blocks: int) -> None:
        self.free_blocks -= blocks
        if self.free_blocks < self.fewest_free:
            self.fewest_free = self.free_blocks

    def _release(self, request: int) -> None:
        self.free_blocks += self.blocks[request]
        self.blocks[request] = 0
