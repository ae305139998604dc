"""What the event loop asks of a step-time model, and the model bound to one layout: plain floats,
cached by batch size."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from guide.perf.step import (
    NO_WORK,
    FixedTerms,
    StepFacts,
    StepParams,
    context_seconds,
    fixed_seconds,
    fixed_terms,
    pair_seconds,
    window_seconds,
)

if TYPE_CHECKING:
    from guide.perf.kernels.curves import Curves


@mypyc_attr(allow_interpreted_subclasses=True)
class StepCost:
    """Seconds of steps, and of runs of decode steps."""

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
        """Seconds of one step that holds prompt tokens."""
        raise NotImplementedError

    def decode_run(self, steps: int, decodes: int, context: float, window_context: float) -> float:
        """Seconds of `steps` decode steps whose context sums average to those given."""
        raise NotImplementedError

    def decode_steps_within(
        self, seconds: float, decodes: int, context: float, window_context: float, growing: int
    ) -> int:
        """How many decode steps it takes to reach or pass `seconds` (at least 1)."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class LayoutCost(StepCost):
    """Of folded facts and resolved fits."""

    def __init__(self, facts: StepFacts, params: StepParams, priced: Curves | None = None) -> None:
        self.facts, self.params, self.priced = facts, params, priced
        self._fixed = fixed_terms(facts, params)
        self._pair_s, self._window_pair_s = pair_seconds(facts, params)
        self._decode: dict[int, tuple[float, float, float]] = {}

    def alike(self) -> tuple[object, ...]:
        """All that seconds depend on: where it is the same, so are they."""
        return self.facts, self.params, None if self.priced is None else self.priced.numbers

    def _fixed_seconds(
        self,
        tokens: float,
        sequences: int,
        decodes: int,
        sampled: int,
        terms: FixedTerms | None = None,
    ) -> float:
        work = NO_WORK
        if self.priced is not None:
            work = self.priced.work(tokens, sequences, decodes, sampled)
        return fixed_seconds(terms or self._fixed, tokens, sequences, decodes, sampled, work)

    @staticmethod
    @lru_cache(maxsize=2**15)  # 10 MB: the same prompts come at every load, to every what-if
    def _prompt_seconds(
        cost: LayoutCost, tokens: int, sequences: int, decodes: int, sampled: int
    ) -> float:
        return cost._fixed_seconds(tokens, sequences, decodes, sampled)

    def decode_coefficients(self, decodes: int) -> tuple[float, float, float]:
        """Fixed seconds of a decode step, seconds per context token, and inside a window."""
        found = self._decode.get(decodes)
        if found is None:
            f, v = self.facts, self.params
            found = (
                self._fixed_seconds(0, 0, decodes, decodes),
                context_seconds(f, v, decodes),
                window_seconds(f, v, decodes),
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
        """Seconds of one step that holds prompt tokens."""
        seconds = (
            self._prompt_seconds(self, tokens, sequences, decodes, sampled)
            + self._pair_s * pairs
            + self._window_pair_s * window_pairs
        )
        if decodes:
            _, per_token, per_window_token = self.decode_coefficients(decodes)
            seconds += per_token * context + per_window_token * window_context
        return seconds

    def decode_run(self, steps: int, decodes: int, context: float, window_context: float) -> float:
        """Seconds of `steps` decode steps whose context sums average to those given."""
        fixed, per_token, per_window_token = self.decode_coefficients(decodes)
        return steps * (fixed + per_token * context + per_window_token * window_context)

    def decode_steps_within(
        self, seconds: float, decodes: int, context: float, window_context: float, growing: int
    ) -> int:
        """How many decode steps it takes to reach or pass `seconds` (at least 1).

        `growing` of the sequences are still shorter than the window.

        Step i lasts first + slope*i: the root of slope/2 n^2 + (first - slope/2) n = seconds.
        """
        fixed, per_token, per_window_token = self.decode_coefficients(decodes)
        first = fixed + per_token * context + per_window_token * window_context
        slope = per_token * decodes + per_window_token * growing
        linear = first - slope / 2
        root = 2 * seconds / (linear + math.sqrt(linear * linear + 2 * slope * seconds))
        return max(1, math.ceil(root))
