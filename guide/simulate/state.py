"""What a simulated replica is at one moment: its requests, its queue, its KV blocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from mypy_extensions import mypyc_attr

from guide.domain import SchedulerPolicy, Scheduling
from guide.simulate.admission import Admission
from guide.simulate.cost import StepCost
from guide.simulate.decoding import DecodeSet
from guide.simulate.prefix_cache import PrefixCache

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
        self.window: int = window or 0
        # the policy as it is asked in each step
        self.block_tokens: int = policy.block_tokens
        self.most_running: int = policy.max_num_seqs
        self.token_budget: int = policy.token_budget
        self.tokens_per_decode: int = policy.tokens_per_decode
        self.most_new: int = policy.max_new_tokens
        self.reserved_blocks: float = policy.watermark_share * policy.kv_blocks
        self.whole_first: bool = policy.scheduling == Scheduling.PREFILL_FIRST
        self.whole_fit: bool = policy.scheduling == Scheduling.SPLIT_FUSE
        # by what clients allow
        self.admits: bool = policy.scheduling == Scheduling.PREFILL_OR_DECODE
        self.mixes: bool = policy.mixes  # decodes run in the steps of prompts
        self.prompt: list[int] = list(prompts)
        self.output: list[int] = list(outputs)
        self.cached: list[int] = list(cached) if cached is not None else [0] * n
        self.arrival_s: list[float] = list(arrivals)
        self.start_s: list[float] = [NEVER] * n
        self.first_token_s: list[float] = [NEVER] * n
        self.finish_s: list[float] = [NEVER] * n
        self.clock: float = 0.0
        self.next_arrival: int = 0  # index of the next request to arrive
        self.closed: bool = closed_users is not None
        self.known: int = (
            n if closed_users is None else min(closed_users, n)
        )  # requests with an arrival
        self.waiting: deque[int] = deque()
        self.generated = [0] * n  # tokens produced so far
        self.computed = [0] * n  # tokens of the present (re)computation in the cache
        self.partial: deque[int] = deque()  # admitted, prompt not finished
        self.decoding = DecodeSet(n, policy.block_tokens, self.window)
        self.admission = Admission()
        self.free_blocks: int = policy.kv_blocks
        self.blocks = [0] * n
        self.fewest_free: int = policy.kv_blocks
        self.starved: bool = False  # whether anything ever waited for blocks
        self.evicted: bool = False  # whether a prefix was ever forgotten
        self.preemptions: int = 0
        self.refused: list[int] = []

    @property
    def block_peak(self) -> int:
        """Most KV blocks held at any moment."""
        return self.policy.kv_blocks - self.fewest_free

    @property
    def kv_peak_share(self) -> float:
        """The same as a share of all."""
        return self.block_peak / self.policy.kv_blocks

    def _blocks_of(self, tokens: int) -> int:
        """Whole KV blocks that `tokens` take."""
        return -(-tokens // self.block_tokens)

    def _target(self, request: int) -> int:
        """Tokens to (re)compute before it decodes: its prompt and what it generated."""
        return self.prompt[request] + self.generated[request]

    def _hit(self, request: int) -> int:
        """Tokens found in the prefix cache; the last one is always computed."""
        found = self.cached[request]
        if self.prefixes is not None:
            found = max(found, self.prefixes.hit(request))
        return min(found, self._target(request) - 1)

    def _look_up(self, request: int) -> int:
        """The same for one that may enter: blocks that others hold for it count as its own, until
        it turns out that it cannot.
        """
        found, prefixes = self._hit(request), self.prefixes
        if prefixes is not None:
            whole = found >= prefixes.shared_blocks * prefixes.block_tokens
            self.blocks[request] = prefixes.lends(request) if whole else 0
            prefixes.looked_up = found
        return found

    def _most(self, request: int) -> int:
        """Tokens that it may produce by what its client allows."""
        return max(self.most_new, self.output[request])

    def _take(self, request: int, blocks: int) -> None:
        prefixes = self.prefixes
        if prefixes is not None and request not in prefixes.lent:
            prefixes.admit(request, self.blocks[request])
        self.blocks[request] += blocks
        self._occupy(blocks)
        if prefixes is not None:
            prefixes.holds(request, self.blocks[request])

    def _occupy(self, blocks: int) -> None:
        self.free_blocks -= blocks
        if self.free_blocks < self.fewest_free:
            self.fewest_free = self.free_blocks
        if self.prefixes is not None and self.prefixes.fit(self.free_blocks):
            self.evicted = True

    def _release(self, request: int) -> None:
        blocks = self.blocks[request]
        self.free_blocks += (
            blocks if self.prefixes is None else self.prefixes.leave(request, blocks)
        )
        self.blocks[request] = 0
