"""What a simulated replica is at one moment: its requests, its queue, its KV blocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from mypy_extensions import mypyc_attr

from guide.domain import SchedulerPolicy, Scheduling
from guide.native import extend, i64, vec
from guide.simulate.admission import Admission
from guide.simulate.cost import StepCost
from guide.simulate.decoding import DecodeSet
from guide.simulate.prefix_cache import PrefixCache
from guide.simulate.prompts import Prompts

NEVER: Final = float("inf")


@mypyc_attr(allow_interpreted_subclasses=True)
class ReplicaState:
    """State of one simulated replica. Times in seconds; requests are indices into the given arrays.

    `arrivals` hold NEVER for requests of a closed loop that wait for another to finish. In the end
    `start_s`, `first_token_s` and `finish_s` hold one value a request, NEVER for those in
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
        prefixes: PrefixCache | None = None,
    ) -> None:
        n = len(prompts)
        self.prefixes = prefixes
        self.policy, self.cost = policy, cost
        self.window: i64 = window or 0
        # the policy as it is asked in each step
        self.block_tokens: i64 = policy.block_tokens
        self.most_running: i64 = policy.max_num_seqs
        self.token_budget: i64 = policy.token_budget
        self.tokens_per_decode: i64 = policy.tokens_per_decode
        self.most_new: i64 = policy.max_new_tokens
        self.reserved_blocks: float = policy.watermark_share * policy.kv_blocks
        self.whole_first: bool = policy.scheduling == Scheduling.PREFILL_FIRST
        self.whole_fit: bool = policy.scheduling == Scheduling.SPLIT_FUSE
        # by what clients allow
        self.admits: bool = policy.scheduling == Scheduling.PREFILL_OR_DECODE
        self.mixes: bool = policy.mixes  # decodes run in the steps of prompts
        self.prompt = vec[i64](prompts)
        self.output = vec[i64](outputs)
        self.cached = vec[i64](cached if cached is not None else [0] * n)
        self.arrival_s = vec[float](arrivals)
        self.start_s = vec[float]([NEVER] * n)
        self.first_token_s = vec[float]([NEVER] * n)
        self.finish_s = vec[float]([NEVER] * n)
        self.clock: float = 0.0
        self.next_arrival: i64 = 0  # index of the next request to arrive
        self.closed: bool = closed_users is not None
        # requests with an arrival
        self.known: i64 = n if closed_users is None else min(closed_users, n)
        self.waiting: deque[int] = deque()
        self.generated = vec[i64]([0] * n)  # tokens produced so far
        # tokens of the present (re)computation in the cache
        self.computed = vec[i64]([0] * n)
        self.partial: deque[int] = deque()  # admitted, prompt not finished
        self.prompts = Prompts()  # of the step that is formed
        self.decoding = DecodeSet(n, policy.block_tokens, window or 0)
        self.admission = Admission(n)
        self.free_blocks: i64 = policy.kv_blocks
        self.blocks = vec[i64]([0] * n)
        self.fewest_free: i64 = policy.kv_blocks
        self.starved: bool = False  # whether anything ever waited for blocks
        self.evicted: bool = False  # whether a prefix was ever forgotten
        self.preemptions: int = 0
        self.refused: list[int] = []

    def _grow(
        self,
        prompts: Sequence[int],
        outputs: Sequence[int],
        cached: Sequence[int],
        arrivals: Sequence[float],
    ) -> None:
        """Take requests more, later than all before."""
        count = len(prompts)
        never, nothing = [NEVER] * count, [0] * count
        self.prompt = extend(self.prompt, prompts)
        self.output = extend(self.output, outputs)
        self.cached = extend(self.cached, cached)
        self.arrival_s = extend(self.arrival_s, arrivals)
        self.start_s = extend(self.start_s, never)
        self.first_token_s = extend(self.first_token_s, never)
        self.finish_s = extend(self.finish_s, never)
        self.generated = extend(self.generated, nothing)
        self.computed = extend(self.computed, nothing)
        self.blocks = extend(self.blocks, nothing)
        self.decoding.grow(count)
        self.admission.grow(count)
        self.known += count

    def _keep(self, left: Sequence[int]) -> None:
        """Number the requests `left` 0, 1, 2 ... and forget the others, which have ended."""
        place = {old: new for new, old in enumerate(left)}
        self.prompt = _counts(self.prompt, left)
        self.output = _counts(self.output, left)
        self.cached = _counts(self.cached, left)
        self.arrival_s = _times(self.arrival_s, left)
        self.start_s = _times(self.start_s, left)
        self.first_token_s = _times(self.first_token_s, left)
        self.finish_s = _times(self.finish_s, left)
        self.generated = _counts(self.generated, left)
        self.computed = _counts(self.computed, left)
        self.blocks = _counts(self.blocks, left)
        self.waiting = deque([place[i] for i in self.waiting])
        self.partial = deque([place[i] for i in self.partial])
        self.next_arrival = sum([i < self.next_arrival for i in left])
        self.known = len(left)
        self.decoding.renumber(left)
        self.admission.renumber(left)

    @property
    def block_peak(self) -> int:
        """Most KV blocks held at any moment."""
        return self.policy.kv_blocks - self.fewest_free

    @property
    def kv_peak_share(self) -> float:
        """The same as a share of all."""
        return self.block_peak / self.policy.kv_blocks

    def _blocks_of(self, tokens: i64) -> i64:
        """Whole KV blocks that `tokens` take."""
        return -(-tokens // self.block_tokens)

    def _target(self, request: i64) -> i64:
        """Tokens to (re)compute before it decodes: its prompt and what it generated."""
        return self.prompt[request] + self.generated[request]

    def _hit(self, request: i64) -> i64:
        """Tokens found in the prefix cache; the last one is always computed."""
        found = self.cached[request]
        if self.prefixes is not None:
            found = max(found, self.prefixes.hit(request))
        return min(found, self._target(request) - 1)

    def _look_up(self, request: i64) -> i64:
        """The same for one that may enter: blocks that others hold for it count as its own, until
        it turns out that it cannot.
        """
        found, prefixes = self._hit(request), self.prefixes
        if prefixes is not None:
            whole = found >= prefixes.shared_blocks * prefixes.block_tokens
            self.blocks[request] = prefixes.lends(request) if whole else 0
            prefixes.looked_up = found
        return found

    def _most(self, request: i64) -> i64:
        """Tokens that it may produce by what its client allows."""
        return max(self.most_new, self.output[request])

    def _take(self, request: i64, blocks: i64) -> None:
        prefixes = self.prefixes
        if prefixes is not None and request not in prefixes.lent:
            prefixes.admit(request, self.blocks[request])
        self.blocks[request] += blocks
        self._occupy(blocks)
        if prefixes is not None:
            prefixes.holds(request, self.blocks[request])

    def _occupy(self, blocks: i64) -> None:
        self.free_blocks -= blocks
        if self.free_blocks < self.fewest_free:
            self.fewest_free = self.free_blocks
        if self.prefixes is not None and self.prefixes.fit(self.free_blocks):
            self.evicted = True

    def _release(self, request: i64) -> None:
        if self.prefixes is None:
            self.free_blocks += self.blocks[request]
        else:
            self.free_blocks += self.prefixes.leave(request, self.blocks[request])
        self.blocks[request] = 0


def _counts(values: vec[i64], left: Sequence[int]) -> vec[i64]:
    return vec[i64]([values[i] for i in left])


def _times(values: vec[float], left: Sequence[int]) -> vec[float]:
    return vec[float]([values[i] for i in left])
