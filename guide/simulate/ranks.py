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

from guide.perf.step import context_seconds, window_seconds
from guide.simulate.cost import LayoutCost


class RankedCost(LayoutCost):
    """Implements `StepCost` for a replica of several attention ranks."""

    def __init__(self, rank: LayoutCost, ranks: int) -> None:
        """`rank` prices the step of one of `ranks` alike."""
        super().__init__(rank.facts, rank.params, rank.priced)
        self.ranks = ranks

    def alike(self) -> tuple[object, ...]:
        """Also of how many ranks there are."""
        return *super().alike(), self.ranks

    def _step(
        self, tokens: float, sequences: int, decodes: int, sampled: int, all_: float
    ) -> float:
        """A step of the rank with most to do, whose experts see `all_` tokens."""
        terms = self._fixed._replace(expert_tokens=all_ / (tokens + decodes))
        return self._fixed_seconds(tokens, sequences, decodes, sampled, terms)

    def decode_coefficients(self, decodes: int) -> tuple[float, float, float]:
        """Of a step: fixed seconds, and seconds per context token of all ranks."""
        found = self._decode.get(decodes)
        if found is None:
            f, v, own = self.facts, self.params, math.ceil(decodes / self.ranks)
            share = own / decodes
            found = (
                self._step(0, 0, own, own, decodes),
                context_seconds(f, v, own) * share,
                window_seconds(f, v, own) * share,
            )
            self._decode[decodes] = found
        return found

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
        """Seconds of a step that holds prompt tokens, of all ranks."""
        beside = math.ceil(decodes / self.ranks)
        own = math.ceil(sequences / min(self.ranks, sequences))
        share = own / sequences
        ended = math.ceil((sampled - decodes) * share)
        seconds = self._step(tokens * share, own, beside, beside + ended, tokens + decodes)
        seconds += share * (self._pair_s * pairs + self._window_pair_s * window_pairs)
        if decodes:
            _, token_s, window_s = self.decode_coefficients(decodes)
            seconds += token_s * context + window_s * window_context
        return seconds
