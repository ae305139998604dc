"""The prompt work of one step."""

from __future__ import annotations

from guide.native import i64
from guide.perf.pairs import attended


class Prompts:
    """Gathered while a step is formed; one for all steps of a replica."""

    def __init__(self) -> None:
        self.tokens: i64 = 0
        self.sequences: i64 = 0
        self.pairs = 0.0
        self.window_pairs = 0.0
        self.complete: list[int] = []  # requests whose prompt ends with this step

    def begin(self) -> None:
        """Hold nothing."""
        self.tokens = 0
        self.sequences = 0
        self.pairs = 0.0
        self.window_pairs = 0.0
        if self.complete:
            self.complete = []

    def add(self, before: i64, new: i64, window: i64) -> None:
        """`new` tokens of a request of which `before` are in the cache."""
        full, inside = attended(float(before), float(new), float(window))
        self.tokens += new
        self.sequences += 1
        self.pairs += full
        self.window_pairs += inside
