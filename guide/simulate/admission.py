"""What a server that admits by `max_tokens` expects of those that run (SGLang's `NewTokenRatio` and
`PrefillAdder`; managers/scheduler.py and schedule_policy.py, alike from 0.4.0 to 0.5.23).

A client's `max_tokens` is what a request may still produce, at most `CLIP_TOKENS`; a share of that
is kept free for it. The share falls with every decode step, since few answers are that long, and
rises again when memory ran out and requests had to be retracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Final

from guide.native import extend, i64, vec

FIRST_SHARE: Final = 0.7
LEAST_SHARE: Final = 0.14 * FIRST_SHARE
DECAY_STEPS: Final = 600  # decode steps from the first share to the least
CLIP_TOKENS: Final = 4096
RETRACT_STEPS: Final = 20  # decode steps that a retraction makes room for


class Admission:
    """The share, whether the batch counts as full, and the sum of what those that run may ask."""

    def __init__(self, requests: int) -> None:
        self.full = False  # nothing is tried until a request ends or is retracted
        self._from = FIRST_SHARE
        self._steps: i64 = 0
        self._tick: i64 = 0  # decode steps so far
        # tick at which a request has all that it may ask for
        self._end = vec[i64]([0] * requests)
        self._near: i64 = 0  # those within the clip: count, and sum of ends
        self._near_ends: i64 = 0
        self._far: list[tuple[int, int]] = []  # beyond it: when they come within, request
        self._is_far: set[int] = set()

    @property
    def share(self) -> float:
        """Of what requests may still ask, the part that is kept free for them."""
        fall = (FIRST_SHARE - LEAST_SHARE) / DECAY_STEPS
        return (
            max(LEAST_SHARE, self._from - fall * float(self._steps)) if self._steps else self._from
        )

    def idle(self) -> None:
        """Nothing runs and nothing waits: begin anew."""
        self._from = FIRST_SHARE
        self._steps = 0

    def decoded(self, steps: i64, *, falls: bool) -> None:
        """So many decode steps ran; the share stays where prompts ran beside or memory ran out."""
        self._tick += steps
        self._steps += steps if falls else 0

    def enter(self, request: i64, may_ask: i64) -> None:
        """A request runs that may still ask for so many tokens."""
        end = self._tick + may_ask
        self._end[request] = end
        if may_ask > CLIP_TOKENS:
            self._is_far.add(request)
            heappush(self._far, (end - CLIP_TOKENS, request))
        else:
            self._near += 1
            self._near_ends += end

    def leave(self, request: i64) -> None:
        """It ended, or was retracted."""
        if self._is_far and request in self._is_far:
            self._is_far.remove(request)
        else:
            self._near -= 1
            self._near_ends -= self._end[request]

    def expected_tokens(self) -> float:
        """What is kept free for those that run."""
        while self._far and self._far[0][0] <= self._tick:
            when, request = heappop(self._far)
            if request in self._is_far and self._end[request] - CLIP_TOKENS == when:
                self._is_far.remove(request)
                self._near += 1
                self._near_ends += self._end[request]
        far: i64 = len(self._is_far)
        asked = self._near_ends - self._near * self._tick + CLIP_TOKENS * far
        return float(asked) * self.share

    def retracted(self, generated: int, may_have: int, count: int) -> None:
        """Memory ran out; of those that stay, tokens produced, tokens allowed, and how many."""
        self._from = min(1.0, (generated + RETRACT_STEPS * count) / (may_have + 1))
        self._steps = 0
        self.full = False

    def grow(self, requests: int) -> None:
        """Make room for that many requests more."""
        self._end = extend(self._end, [0] * requests)

    def renumber(self, left: Sequence[int]) -> None:
        """Number the requests `left`, all that run among them, 0, 1, 2 ...; forget the others."""
        self._end = vec[i64]([self._end[i] for i in left])
        self._is_far = {new for new, old in enumerate(left) if old in self._is_far}
        self._far = [(self._end[r] - CLIP_TOKENS, r) for r in self._is_far]
        heapify(self._far)
