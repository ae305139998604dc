"""The step cost of a replica with pipeline stages: a round, in which every running sequence gets
one token.

As many batches as there are stages are under way, and a sequence is in one of them at a time (the
batch queue of vLLM's `EngineCore`). A round lasts as long as its longest batch takes from the first
stage to the last, or as long as the heaviest stage takes for all batches, whichever is more:

- a single request passes the stages one after the other, and all but one of them wait;
- batches of the same size keep all stages busy, as fast as the heaviest of them;
- a batch with a prompt holds up the others, since no batch overtakes another.

In a round a prompt may advance by a chunk in each batch, since its next chunk needs no sampled
token. Who arrives during a round waits for its end, though the first stage may be free: TTFT is
overstated by up to a round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from guide.native import i64
from guide.perf.pipeline import Hops
from guide.simulate.cost import LayoutCost


class PipelineCost(LayoutCost):
    """Implements `StepCost` for a replica of several stages."""

    def __init__(
        self,
        whole: LayoutCost,
        stages: Callable[[], Sequence[LayoutCost]],
        hops: Hops,
        *,
        batches: int,
        token_budget: int,
    ) -> None:
        """`whole` prices a step over all layers, `stages` one of the heaviest stages each: a round
        of one batch, as on an empty server, never asks for them."""
        super().__init__(whole.facts, whole.params, whole.priced)
        self.whole, self.hops = whole, hops
        self._cut, self._stages = stages, list[LayoutCost]()
        # as they are asked in each step
        self._path_s, self._path_token_s = hops.latency_s, hops.token_s
        self._hop_s, self._hop_token_s = hops.slowest_latency_s, hops.slowest_token_s
        self.batches: i64 = batches
        self.token_budget: i64 = token_budget

    @property
    def stages(self) -> list[LayoutCost]:
        """One cost for each of the heaviest stages."""
        if not self._stages:
            self._stages = list(self._cut())
        return self._stages

    def alike(self) -> tuple[object, ...]:
        """Also of the stages and what lies between them."""
        stages = tuple(stage.alike() for stage in self.stages)
        return *super().alike(), stages, self.hops, self.batches, self.token_budget

    def _coefficients(self, decodes: i64) -> tuple[float, float, float]:
        """Of a round: each the larger of the two bounds, so that runs stay affine."""
        batches = max(1, min(self.batches, decodes))
        size = -(-decodes // batches)
        fixed_s, token_s, window_s = self.whole.decode_coefficients(size)
        if batches == 1:  # no stage has more than all of them together
            return fixed_s + self._path(size), token_s, window_s
        busy_s, token_s, window_s = 0.0, token_s / float(batches), window_s / float(batches)
        for stage in self.stages:
            stage_s, stage_token_s, stage_window_s = stage.decode_coefficients(size)
            busy_s = max(busy_s, stage_s)
            token_s, window_s = max(token_s, stage_token_s), max(window_s, stage_window_s)
        round_s = max(fixed_s + self._path(size), float(batches) * (busy_s + self._hop(size)))
        return round_s, token_s, window_s

    def _path(self, tokens: i64) -> float:
        """Seconds that a batch spends between the first stage and the last."""
        return self._path_s + self._path_token_s * float(tokens)

    def _hop(self, tokens: i64) -> float:
        """Seconds of its slowest hop."""
        return self._hop_s + self._hop_token_s * float(tokens)

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
        """Seconds of a round that holds prompt tokens, spread over the batches."""
        held = min(self.batches, max(sequences, -(-tokens // self.token_budget)))
        batches = max(held, min(self.batches, decodes))
        beside = -(-decodes // batches)
        each_context, each_window = context / float(batches), window_context / float(batches)
        sampled_each = beside + -(-(sampled - decodes) // held)
        prompts = -(-sequences // held)
        # the longest prompt has at least the mean of all weighted by their tokens
        even = -(-tokens // held)
        weighted: i64 = int(2 * pairs / float(tokens))
        longest = max(even, min(tokens, min(self.token_budget, weighted)))
        share = float(longest) / float(tokens)
        path_s = self._path(longest + beside) + self.whole.prompt_step(
            longest,
            prompts,
            pairs * share,
            window_pairs * share,
            beside,
            each_context,
            each_window,
            sampled_each,
        )
        if batches == 1:
            return path_s
        share = float(even) / float(tokens)
        busy_s, alone_s = 0.0, 0.0
        for stage in self.stages:
            stage_s = stage.prompt_step(
                even,
                prompts,
                pairs * share,
                window_pairs * share,
                beside,
                each_context,
                each_window,
                sampled_each,
            )
            busy_s = max(busy_s, stage_s)
            if batches > held:
                alone_s = max(alone_s, stage.decode_run(1, beside, each_context, each_window))
        round_s = float(held) * (busy_s + self._hop(even + beside))
        if batches > held:
            round_s += float(batches - held) * (alone_s + self._hop(beside))
        return max(path_s, round_s)
