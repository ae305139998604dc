"""What a server that admits by `max_tokens` expects of those that run (SGLang's `NewTokenRatio` and
`PrefillAdder`; managers/scheduler.py and schedule_policy.py, alike from 0.4.0 to 0.5.23).

A client's `max_tokens` is what a request may still produce, at most `CLIP_TOKENS`; a share of that
is kept free for it. The share falls with every decode step, since few answers are that long, and
rises again when memory ran out and requests had to be retracted.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

FIRST_SHARE = 0.7
LEAST_SHARE = 0.14 * FIRST_SHARE
DECAY_STEPS = 600  # decode steps from the first share to the least
CLIP_TOKENS = 4096
RETRACT_STEPS = 20  # decode steps that a retraction makes room for


class Admission:
    """The share, whether the batch counts as full, and the sum of what those that run may ask."""

    def __init__(self) -> None:
        self.full = False  # nothing is tried until a request ends or is retracted
        self._from, self._steps = FIRST_SHARE, 0
        self._tick = 0  # decode steps so far
        self._end: dict[int, int] = {}  # tick at which a request has all that it may ask for
        self._near, self._near_ends = 0, 0  # those within the clip: count, and sum of ends
        self._far: list[tuple[int, int]] = []  # beyond it: when they come within, request
        self._is_far: set[int] = set()

    @property
    def share(self) -> float:
        """Of what requests may still ask, the part that is kept free for them."""
        fall = (FIRST_SHARE - LEAST_SHARE) / DECAY_STEPS
        return max(LEAST_SHARE, self._from - fall * self._steps) if self._steps else self._from

    def idle(self) -> None:
        """Nothing runs and nothing waits: begin anew."""
        self._from, self._steps = FIRST_SHARE, 0

    def decoded(self, steps: int, *, falls: bool) -> None:
        """So many decode steps ran; the share stays where prompts ran beside or memory ran out."""
        self._tick += steps
        self._steps += steps if falls else 0

    def enter(self, request: int, may_ask: int) -> None:
        """A request runs that may still ask for so many tokens."""
        end = self._end[request] = self._tick + may_ask
        if may_ask > CLIP_TOKENS:
            self._is_far.add(request)
            heapq.heappush(self._far, (end - CLIP_TOKENS, request))
        else:
            self._near += 1
            self._near_ends += end

    def leave(self, request: int) -> None:
        """It ended, or was retracted."""
        end = self._end.pop(request)
        if request in self._is_far:
            self._is_far.remove(request)
        else:
            self._near -= 1
            self._near_ends -= end

    def expected_tokens(self) -> float:
        """What is kept free for those that run."""
        while self._far and self._far[0][0] <= self._tick:
            when, request = heapq.heappop(self._far)
            if request in self._is_far and self._end[request] - CLIP_TOKENS == when:
                self._is_far.remove(request)
                self._near += 1
                self._near_ends += self._end[request]
        asked = self._near_ends - self._near * self._tick + CLIP_TOKENS * len(self._is_far)
        return asked * self.share

    def retracted(self, generated: int, may_have: int, count: int) -> None:
        """Memory ran out; of those that stay, tokens produced, tokens allowed, and how many."""
        self._from = min(1.0, (generated + RETRACT_STEPS * count) / (may_have + 1))
        self._steps = 0
        self.full = False

    def renumber(self, place: Mapping[int, int]) -> None:
        """Requests have other numbers; those without one are forgotten."""
        self._end = {place[r]: end for r, end in self._end.items()}
        self._is_far = {place[r] for r in self._is_far}
        self._far = [(self._end[r] - CLIP_TOKENS, r) for r in self._is_far]
        heapq.heapify(self._far)
