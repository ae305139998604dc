"""The step cost of a replica that drafts tokens and verifies them: the one step formula asked about
steps of k + 1 tokens a sequence, and about the layers that draft.

An event loop counts tokens, so a run of decode steps is charged per token: a step over the tokens
that it gives on average. A step is

- the model over k + 1 tokens of each sequence: GEMMs, experts, exchange and output head see them
  all, the KV cache is read once and multiplied by each of them;
- then the draft: its first pass over the same tokens, the other k - 1 over one token a sequence,
  each without the engine's own work (sequences are scheduled and sampled once a step).

So the gain is largest where a step waits for weights, and turns into a loss as the batch grows.
"""

from __future__ import annotations

from guide.native import i64
from guide.perf.formula import context_seconds, window_seconds
from guide.perf.terms import StepFacts
from guide.simulate.cost import LayoutCost


class SpeculativeCost(LayoutCost):
    """Implements `StepCost` for a replica that speculates."""

    def __init__(
        self,
        plain: LayoutCost,
        verified: StepFacts,
        draft: LayoutCost | None,
        draft_verified: StepFacts | None,
        *,
        tokens: i64,
        tokens_per_step: float,
    ) -> None:
        """`plain` prices the model, `draft` a pass of what drafts (None: it costs nothing);
        `verified` are their facts where k + 1 queries of a sequence read its cache at once."""
        super().__init__(plain.facts, plain.params, plain.priced)
        self.verified = _Verifying(plain, verified, tokens, sampled=tokens + 1)
        self.first = None
        if draft is not None and draft_verified is not None:
            self.first = _Verifying(draft, draft_verified, tokens, sampled=1)
        self.draft, self.passes = draft, tokens - 1
        self.tokens_per_step = tokens_per_step

    def alike(self) -> tuple[object, ...]:
        """Also of what drafts and verifies."""
        drafting = None if self.draft is None else self.draft.alike()
        first = None if self.first is None else self.first.facts
        tokens = self.passes, self.tokens_per_step
        return *super().alike(), self.verified.facts, drafting, first, *tokens

    def _coefficients(self, decodes: i64) -> tuple[float, float, float]:
        """Per token of each sequence: fixed seconds, and seconds per context token."""
        parts, passes = [self.verified.decode_coefficients(decodes)], float(self.passes)
        if self.first is not None and self.draft is not None:
            parts.append(self.first.decode_coefficients(decodes))
            fixed, context, window = self.draft.decode_coefficients(decodes)
            again = passes * fixed, passes * context, passes * window
            parts.append(again)
        fixed, context, window = (
            sum(part[place] for part in parts) / self.tokens_per_step for place in range(3)
        )
        return fixed, context, window

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
        """Seconds of a step that holds prompt tokens, which the draft reads too.

        Its decodes are counted as one token each: what the prompt adds to their step, and the part
        of the step that one token is.
        """
        asked = (tokens, sequences, pairs, window_pairs, decodes, context, window_context, sampled)
        seconds = self.verified.prompt_step(*asked)
        if self.first is not None:
            seconds += self.first.prompt_step(*asked)
        if not decodes:
            return seconds
        alone = self.verified.decode_run(1, decodes, context, window_context)
        if self.first is not None:
            alone += self.first.decode_run(1, decodes, context, window_context)
        return max(0.0, seconds - alone) + self.decode_run(1, decodes, context, window_context)


class _Verifying(LayoutCost):
    """Steps in which each running sequence has k tokens more than one."""

    def __init__(
        self, plain: LayoutCost, verified: StepFacts, tokens: int, *, sampled: int
    ) -> None:
        """`sampled` tokens of a sequence go through the output head."""
        super().__init__(verified, plain.params, plain.priced)
        self._drafted: i64 = tokens
        self._sampled: i64 = sampled

    def _coefficients(self, decodes: i64) -> tuple[float, float, float]:
        more = decodes * self._drafted
        return (
            self._unattended_seconds(float(more), 0, decodes, decodes * self._sampled),
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
        more = decodes * self._drafted
        heads = sampled + decodes * (self._sampled - 1)
        return super().prompt_step(
            tokens + more,
            sequences,
            pairs,
            window_pairs,
            decodes,
            context,
            window_context,
            heads,
        )
