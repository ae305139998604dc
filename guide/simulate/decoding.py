"""The decoding sequences of a replica as sums: batch, contexts, block needs, the next finish.

A decode step gives every running sequence one token. Counted by the step at which each sequence
needs its next KV block (a residue modulo the block size), any number of steps is accounted for at
once, so nothing here costs time per token.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence


class DecodeSet:
    """Running sequences by request index. A tick is one decode step of all of them."""

    def __init__(self, requests: int, block_tokens: int, window: int) -> None:
        self.block, self.window = block_tokens, window
        self.members: dict[int, None] = {}  # in order of admission
        self.tick = 0
        self.length = [0] * requests  # context tokens at entry
        self.entered = [0] * requests  # tick of entry
        self.due = [0] * requests  # tick of the last token
        self.finishes: list[tuple[int, int]] = []
        self.saturations: list[tuple[int, int]] = []  # when a context outgrows the window
        self.context_sum = 0
        self.window_sum = 0
        self.growing: set[int] = set()  # still shorter than the window
        self.residue = [0] * block_tokens  # members by the tick (modulo block) that needs a block
        self.sequence_ticks = 0  # sum of batch sizes over ticks

    def __len__(self) -> int:
        return len(self.members)

    @property
    def batch_mean(self) -> float:
        """Members, on average over all ticks."""
        return self.sequence_ticks / max(1, self.tick)

    def grow(self, requests: int) -> None:
        """Make room for that many requests more."""
        for values in (self.length, self.entered, self.due):
            values += [0] * requests

    def renumber(self, left: Sequence[int]) -> None:
        """Number the requests `left`, all members among them, 0, 1, 2 ...; forget the others."""
        place = {old: new for new, old in enumerate(left)}
        self.length = [self.length[i] for i in left]
        self.entered = [self.entered[i] for i in left]
        self.due = [self.due[i] for i in left]
        self.members = {place[i]: None for i in self.members}
        self.growing = {place[i] for i in self.growing}
        self.finishes = [(self.due[i], i) for i in self.members]
        self.saturations = [(self._saturates(i), i) for i in self.growing]
        heapq.heapify(self.finishes)
        heapq.heapify(self.saturations)

    def enter(self, request: int, length: int, remaining: int) -> None:
        """Start decoding with `length` tokens cached and `remaining` tokens to produce."""
        self.length[request], self.entered[request] = length, self.tick
        self.due[request] = self.tick + remaining
        self.members[request] = None
        self.context_sum += length
        # a full last block means that the next token opens a new one
        self.residue[(self.tick - length) % self.block] += 1
        heapq.heappush(self.finishes, (self.due[request], request))
        if self.window:
            self.window_sum += min(length, self.window)
            if length < self.window:
                self.growing.add(request)
                heapq.heappush(self.saturations, (self._saturates(request), request))

    def leave(self, request: int) -> tuple[int, int]:
        """Stop decoding; returns context tokens now and tokens produced since entry."""
        del self.members[request]
        grown = self.tick - self.entered[request]
        now = self.length[request] + grown
        self.context_sum -= now
        self.residue[(self.entered[request] - self.length[request]) % self.block] -= 1
        if self.window:
            self.window_sum -= min(now, self.window)
            self.growing.discard(request)
        return now, grown

    def newest(self) -> int:
        """The member admitted last: the first that vLLM preempts."""
        return next(reversed(self.members))

    def steps_to_event(self) -> int:
        """Decode steps until a member finishes or outgrows the window."""
        steps = self.finishes[0][0] - self.tick
        if self.saturations:
            steps = min(steps, self.saturations[0][0] - self.tick)
        return max(1, steps)

    def blocks_next(self) -> int:
        """New KV blocks that the next step needs."""
        return self.residue[self.tick % self.block]

    def blocks_for(self, steps: int) -> int:
        """New KV blocks that `steps` steps need."""
        if steps == 1:
            return self.residue[self.tick % self.block]
        cycles, rest = divmod(steps, self.block)
        first = self.tick % self.block
        end = first + rest
        partial = sum(self.residue[first:end])
        if end > self.block:
            partial += sum(self.residue[: end - self.block])
        return cycles * len(self.members) + partial

    def steps_within_blocks(self, steps: int, free: int) -> int:
        """Decode steps, up to `steps`, before `free` blocks run out."""
        members = len(self.members)
        if steps * members <= free:  # cannot run out
            return steps
        cycles = min(steps // self.block, free // members)
        left, count = free - cycles * members, cycles * self.block
        while count < steps:
            need = self.residue[(self.tick + count) % self.block]
            if need > left:
                break
            left -= need
            count += 1
        return count

    def mean_sums(self, steps: int) -> tuple[float, float]:
        """Context sums, full and inside the window, averaged over the next `steps` steps."""
        half = (steps - 1) / 2
        return (
            self.context_sum + len(self.members) * half,
            self.window_sum + len(self.growing) * half,
        )

    def advance(self, steps: int) -> list[int]:
        """Give every member `steps` tokens; returns the requests that have all of theirs."""
        members = len(self.members)
        self.tick += steps
        self.sequence_ticks += steps * members
        self.context_sum += steps * members
        if self.window:
            self.window_sum += steps * len(self.growing)
            while self.saturations and self.saturations[0][0] <= self.tick:
                when, request = heapq.heappop(self.saturations)
                if request in self.growing and when == self._saturates(request):
                    self.growing.remove(request)
        if not self.finishes or self.finishes[0][0] > self.tick:
            return []
        done: dict[int, None] = {}  # a set in order: a whole batch may end at once
        while self.finishes and self.finishes[0][0] <= self.tick:
            when, request = heapq.heappop(self.finishes)
            if request in self.members and when == self.due[request]:
                done[request] = None
        return list(done)

    def _saturates(self, request: int) -> int:
        return self.entered[request] + self.window - self.length[request]
