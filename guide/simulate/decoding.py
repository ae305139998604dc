"""The decoding sequences of a replica as sums: batch, contexts, block needs, the next finish.

A decode step gives every running sequence one token. Counted by the step at which each sequence
needs its next KV block (a residue modulo the block size), any number of steps is accounted for at
once, so nothing here costs time per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Final

from guide.native import extend, i64, vec

REQUEST_BITS: Final = 32  # leaves 30 for ticks before an event outgrows a machine's word
REQUESTS: Final = (1 << REQUEST_BITS) - 1
NOBODY: Final = -1


class DecodeSet:
    """Running sequences by request index. A tick is one decode step of all of them."""

    def __init__(self, requests: int, block_tokens: int, window: int) -> None:
        self.block: i64 = block_tokens
        self.window: i64 = window
        self.members: dict[int, None] = {}  # in order of admission
        self.tick: i64 = 0
        self.length = vec[i64]([0] * requests)  # context tokens at entry
        self.entered = vec[i64]([0] * requests)  # tick of entry
        self.due = vec[i64]([0] * requests)  # tick of the last token; 0 of who runs no longer
        self.finishes: list[int] = []  # heaps of `_event`
        self.saturations: list[int] = []  # when a context outgrows the window
        self.context_sum: i64 = 0
        self.window_sum: i64 = 0
        self.growing: set[int] = set()  # still shorter than the window
        # members by the tick (modulo block) that needs a block
        self.residue = vec[i64]([0] * block_tokens)
        self.sequence_ticks: i64 = 0  # sum of batch sizes over ticks

    def __len__(self) -> int:
        return len(self.members)

    @property
    def batch_mean(self) -> float:
        """Members, on average over all ticks."""
        return float(self.sequence_ticks) / float(max(1, self.tick))

    def grow(self, requests: int) -> None:
        """Make room for that many requests more."""
        more = [0] * requests
        self.length = extend(self.length, more)
        self.entered = extend(self.entered, more)
        self.due = extend(self.due, more)

    def renumber(self, left: Sequence[int]) -> None:
        """Number the requests `left`, all members among them, 0, 1, 2 ...; forget the others."""
        place = {old: new for new, old in enumerate(left)}
        self.length = vec[i64]([self.length[i] for i in left])
        self.entered = vec[i64]([self.entered[i] for i in left])
        self.due = vec[i64]([self.due[i] for i in left])
        self.members = {place[i]: None for i in self.members}
        self.growing = {place[i] for i in self.growing}
        self.finishes = [_event(self.due[i], i) for i in self.members]
        self.saturations = [_event(self._saturates(i), i) for i in self.growing]
        heapify(self.finishes)
        heapify(self.saturations)

    def enter(self, request: i64, length: i64, remaining: i64) -> None:
        """Start decoding with `length` tokens cached and `remaining` tokens to produce."""
        self.length[request] = length
        self.entered[request] = self.tick
        self.due[request] = self.tick + remaining
        self.members[request] = None
        self.context_sum += length
        # a full last block means that the next token opens a new one
        self.residue[(self.tick - length) % self.block] += 1
        heappush(self.finishes, _event(self.due[request], request))
        if self.window:
            self.window_sum += min(length, self.window)
            if length < self.window:
                self.growing.add(request)
                heappush(self.saturations, _event(self._saturates(request), request))

    def leave(self, request: i64) -> tuple[i64, i64]:
        """Stop decoding; returns context tokens now and tokens produced since entry."""
        del self.members[request]
        grown = self.tick - self.entered[request]
        now = self.length[request] + grown
        self.due[request] = 0
        self.context_sum -= now
        self.residue[(self.entered[request] - self.length[request]) % self.block] -= 1
        if self.window:
            self.window_sum -= min(now, self.window)
            self.growing.discard(request)
        return now, grown

    def newest(self) -> int:
        """The member admitted last: the first that vLLM preempts."""
        return next(reversed(self.members))

    def steps_to_event(self) -> i64:
        """Decode steps until a member finishes or outgrows the window."""
        steps: i64 = (self.finishes[0] >> REQUEST_BITS) - self.tick
        if self.saturations:
            steps = min(steps, (self.saturations[0] >> REQUEST_BITS) - self.tick)
        return max(1, steps)

    def blocks_next(self) -> i64:
        """New KV blocks that the next step needs."""
        return self.residue[self.tick % self.block]

    def blocks_for(self, steps: i64) -> i64:
        """New KV blocks that `steps` steps need."""
        place = self.tick % self.block
        if steps == 1:
            return self.residue[place]
        members: i64 = len(self.members)
        blocks = steps // self.block * members
        left = steps % self.block
        while left:
            blocks += self.residue[place]
            place = place + 1 if place + 1 < self.block else 0
            left -= 1
        return blocks

    def steps_within_blocks(self, steps: i64, free: i64) -> i64:
        """Decode steps, up to `steps`, before `free` blocks run out."""
        members: i64 = len(self.members)
        if steps * members <= free:  # cannot run out
            return steps
        cycles = min(steps // self.block, free // members)
        left = free - cycles * members
        count = cycles * self.block
        while count < steps:
            need = self.residue[(self.tick + count) % self.block]
            if need > left:
                break
            left -= need
            count += 1
        return count

    def mean_sums(self, steps: i64) -> tuple[float, float]:
        """Context sums, full and inside the window, averaged over the next `steps` steps."""
        half = float(steps - 1) / 2
        return (
            float(self.context_sum) + float(len(self.members)) * half,
            float(self.window_sum) + float(len(self.growing)) * half,
        )

    def advance(self, steps: i64) -> None:
        """Give every member `steps` tokens."""
        members: i64 = len(self.members)
        self.tick += steps
        self.sequence_ticks += steps * members
        self.context_sum += steps * members
        if self.window:
            self.window_sum += steps * len(self.growing)
            while self.saturations and (self.saturations[0] >> REQUEST_BITS) <= self.tick:
                event: i64 = heappop(self.saturations)
                request = event & REQUESTS
                if request in self.growing and event == _event(self._saturates(request), request):
                    self.growing.remove(request)

    def ended(self) -> i64:
        """A member that has all of its tokens, to be told to leave; `NOBODY` if all still run."""
        while self.finishes and (self.finishes[0] >> REQUEST_BITS) <= self.tick:
            event: i64 = heappop(self.finishes)
            if event >> REQUEST_BITS == self.due[event & REQUESTS]:  # else it left before
                return event & REQUESTS
        return NOBODY

    def _saturates(self, request: i64) -> i64:
        return self.entered[request] + self.window - self.length[request]


def _event(tick: i64, request: i64) -> i64:
    """Something that happens to a request at a tick, as a number: sorted by tick, then request."""
    return tick << REQUEST_BITS | request
