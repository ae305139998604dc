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

import math
from collections.abc import Sequence

from guide.perf.pipeline import Hops
from guide.simulate.cost import LayoutCost


class PipelineCost(LayoutCost):
    """Implements `StepCost` for a replica of several stages."""

    def __init__(
        self,
        whole: LayoutCost,
        stages: Sequence[LayoutCost],
        hops: Hops,
        *,
        batches: int,
        token_budget: int,
    ) -> None:
        """`whole` prices a step over all layers, `stages` one of the heaviest stages each."""
        super().__init__(whole.facts, whole.params, whole.priced)
        self.whole, self.stages, self.hops = whole, stages, hops
        self.batches, self.token_budget = batches, token_budget
        self._rounds: dict[int, tuple[float, float, float]] = {}

    def alike(self) -> tuple[object, ...]:
        """Also of the stages and what lies between them."""
        stages = tuple(stage.alike() for stage in self.stages)
        return *super().alike(), stages, self.hops, self.batches, self.token_budget

    def decode_coefficients(self, decodes: int) -> tuple[float, float, float]:
        """Of a round: each the larger of the two bounds, so that runs stay affine."""
        found = self._rounds.get(decodes)
        if found is None:
            batches = max(1, min(self.batches, decodes))
            size = math.ceil(decodes / batches)
            fixed, token_s, window_s = self.whole.decode_coefficients(size)
            heaviest = [stage.decode_coefficients(size) for stage in self.stages]
            found = (
                max(
                    fixed + self.hops.all(size),
                    batches * (max(one[0] for one in heaviest) + self.hops.slowest(size)),
                ),
                max(token_s / batches, *(one[1] for one in heaviest)),
                max(window_s / batches, *(one[2] for one in heaviest)),
            )
            self._rounds[decodes] = found
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
        """Seconds of a round that holds prompt tokens, spread over the batches."""
        held = min(self.batches, max(sequences, math.ceil(tokens / self.token_budget)))
        batches = max(held, min(self.batches, decodes))
        beside = math.ceil(decodes / batches)
        each_context, each_window = context / batches, window_context / batches
        ended = math.ceil((sampled - decodes) / held)
        prompts, sampled_each = math.ceil(sequences / held), beside + ended
        # the longest prompt has at least the mean of all weighted by their tokens
        even = math.ceil(tokens / held)
        longest = max(even, min(tokens, self.token_budget, int(2 * pairs / tokens)))
        whole_s, *stages_s = [
            cost.prompt_step(
                new,
                prompts,
                pairs * (new / tokens),
                window_pairs * (new / tokens),
                beside,
                each_context,
                each_window,
                sampled_each,
            )
            for cost, new in [(self.whole, longest), *((stage, even) for stage in self.stages)]
        ]
        path = whole_s + self.hops.all(longest + beside)
        busy = held * (max(stages_s) + self.hops.slowest(even + beside))
        if batches > held:
            alone = max(
                [stage.decode_run(1, beside, each_context, each_window) for stage in self.stages]
            )
            busy += (batches - held) * (alone + self.hops.slowest(beside))
        return max(path, busy)
