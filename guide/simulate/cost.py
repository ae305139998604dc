"""What the event loop asks of a step-time model, and the model bound to one layout: plain floats,
cached by batch size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from guide.native import i64
from guide.perf.formula import (
    FixedTerms,
    context_seconds,
    fixed_seconds,
    pair_seconds,
    window_seconds,
)
from guide.perf.terms import StepFacts, StepParams

if TYPE_CHECKING:
    from guide.perf.kernels.curves import Curves


@mypyc_attr(allow_interpreted_subclasses=True)
class StepCost:
    """Seconds of steps, and of runs of decode steps."""

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
        """Seconds of one step that holds prompt tokens."""
        raise NotImplementedError

    def decode_run(self, steps: i64, decodes: i64, context: float, window_context: float) -> float:
        """Seconds of `steps` decode steps whose context sums average to those given."""
        raise NotImplementedError

    def decode_steps_within(
        self, seconds: float, decodes: i64, context: float, window_context: float, growing: i64
    ) -> i64:
        """How many decode steps it takes to reach or pass `seconds` (at least 1)."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class LayoutCost(StepCost):
    """Of folded facts and resolved fits."""

    def __init__(self, facts: StepFacts, params: StepParams, priced: Curves | None = None) -> None:
        self.facts, self.params, self.priced = facts, params, priced
        self._fixed = FixedTerms(facts, params, by_kernels=priced is not None)
        self._work = None if priced is None else priced.steps
        self._expert_tokens: float = facts.expert_tokens
        self._pair_s, self._window_pair_s = pair_seconds(facts, params)
        self._decode: dict[int, tuple[float, float, float]] = {}
        # in one: threads share it
        self._last: tuple[i64, tuple[float, float, float]] = -1, (0.0, 0.0, 0.0)

    def alike(self) -> tuple[object, ...]:
        """All that seconds depend on: where it is the same, so are they."""
        return self.facts, self.params, None if self.priced is None else self.priced.numbers

    def _fixed_seconds(
        self, tokens: float, sequences: i64, decodes: i64, sampled: i64, routed: float
    ) -> float:
        prompts, running, heads = float(sequences), float(decodes), float(sampled)
        work = (0.0, 0.0, 0.0)
        if self._work is not None:
            work = self._work.seconds(tokens, prompts, running, heads)
        return fixed_seconds(self._fixed, tokens, prompts, running, heads, routed, work)

    def _unattended_seconds(
        self, tokens: float, sequences: i64, decodes: i64, sampled: i64
    ) -> float:
        """A step without its attention, whose tokens all reach the experts."""
        routed = (tokens + float(decodes)) * self._expert_tokens
        return self._fixed_seconds(tokens, sequences, decodes, sampled, routed)

    def decode_coefficients(self, decodes: i64) -> tuple[float, float, float]:
        """Fixed seconds of a decode step, seconds per context token, and inside a window."""
        asked, last = self._last  # a step asks about its batch several times
        if decodes == asked:
            return last
        found = self._decode.get(decodes)
        if found is None:
            found = self._decode[decodes] = self._coefficients(decodes)
        self._last = decodes, found
        return found

    def _coefficients(self, decodes: i64) -> tuple[float, float, float]:
        """The same, worked out."""
        return (
            self._unattended_seconds(0.0, 0, decodes, decodes),
            context_seconds(self.facts, self.params, float(decodes)),
            window_seconds(self.facts, self.params, float(decodes)),
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
        """Seconds of one step that holds prompt tokens."""
        seconds = (
            self._unattended_seconds(float(tokens), sequences, decodes, sampled)
            + self._pair_s * pairs
            + self._window_pair_s * window_pairs
        )
        if decodes:
            _, per_token, per_window_token = self.decode_coefficients(decodes)
            seconds += per_token * context + per_window_token * window_context
        return seconds

    def decode_run(self, steps: i64, decodes: i64, context: float, window_context: float) -> float:
        """Seconds of `steps` decode steps whose context sums average to those given."""
        fixed, per_token, per_window_token = self.decode_coefficients(decodes)
        return float(steps) * (fixed + per_token * context + per_window_token * window_context)

    def decode_steps_within(
        self, seconds: float, decodes: i64, context: float, window_context: float, growing: i64
    ) -> i64:
        """How many decode steps it takes to reach or pass `seconds` (at least 1).

        `growing` of the sequences are still shorter than the window.

        Step i lasts first + slope*i: the root of slope/2 n^2 + (first - slope/2) n = seconds.
        """
        fixed, per_token, per_window_token = self.decode_coefficients(decodes)
        first = fixed + per_token * context + per_window_token * window_context
        slope = per_token * float(decodes) + per_window_token * float(growing)
        linear = first - slope / 2
        root = 2 * seconds / (linear + math.sqrt(linear * linear + 2 * slope * seconds))
        return max(1, math.ceil(root))
