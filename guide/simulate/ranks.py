"""The step cost of a replica with data-parallel attention: ranks with requests of their own, in
lock-step, since the experts of a layer wait for the tokens of all (vLLM: `DPEngineCoreProc` runs a
dummy batch where a rank has nothing to do).

One event loop runs the requests of all ranks. They are dealt out evenly, as vLLM's balancer does by
the length of the queues; a step lasts as long as that of the rank with most to do:

- running sequences: their share, rounded up;
- prompts: no more ranks compute prompts than there are prompts, and all others wait for them;
- experts see the tokens of all ranks.
"""

from __future__ import annotations

import math

from guide.native import i64
from guide.perf.formula import context_seconds, window_seconds
from guide.simulate.cost import LayoutCost


class RankedCost(LayoutCost):
    """Implements `StepCost` for a replica of several attention ranks."""

    def __init__(self, rank: LayoutCost, ranks: int) -> None:
        """`rank` prices the step of one of `ranks` alike."""
        super().__init__(rank.facts, rank.params, rank.priced)
        self.ranks: i64 = ranks

    def alike(self) -> tuple[object, ...]:
        """Also of how many ranks there are."""
        return *super().alike(), self.ranks

    def _coefficients(self, decodes: i64) -> tuple[float, float, float]:
        """Of a step: fixed seconds, and seconds per context token of all ranks."""
        own = -(-decodes // self.ranks)
        share = float(own) / float(decodes)
        return (
            self._fixed_seconds(0.0, 0, own, own, float(decodes)),
            context_seconds(self.facts, self.params, float(own)) * share,
            window_seconds(self.facts, self.params, float(own)) * share,
        )

    def prompt_step(
        self,
        tokens: i64,
        sequences: i64,
        pairs: float,
        window_pairs: float,
        decodes: i64,
        context: float,
        window_context: float,
        sampled: i64,
    ) -> float:
        """Seconds of a step that holds prompt tokens, of all ranks."""
        beside = -(-decodes // self.ranks)
        own = -(-sequences // min(self.ranks, sequences))
        share = float(own) / float(sequences)
        ended = math.ceil(float(sampled - decodes) * share)
        read, routed = float(tokens) * share, float(tokens + decodes)
        seconds = self._fixed_seconds(read, own, beside, beside + ended, routed)
        seconds += share * (self._pair_s * pairs + self._window_pair_s * window_pairs)
        if decodes:
            _, token_s, window_s = self.decode_coefficients(decodes)
            seconds += token_s * context + window_s * window_context
        return seconds
