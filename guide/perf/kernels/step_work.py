"""What measured kernels say of one step: curves over its tokens, read by bisection."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from guide.native import vec

NODES: Final[list[float]] = [
    *(0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 192.0, 256.0, 384.0),
    *(512.0, 768.0, 1024.0, 1536.0, 2048.0, 3072.0, 4096.0, 6144.0, 8192.0, 16384.0, 32768.0),
]  # tokens
CAPTURED_TOKENS: Final = 512.0  # decode batches up to this run in CUDA graphs, all-reduces too


class Curve:
    """Seconds over `NODES`, with the slope to the next node: linear between, and beyond the last at
    its slope.
    """

    def __init__(self, seconds: Sequence[float], slopes: Sequence[float]) -> None:
        self.seconds = vec[float](seconds)
        self.slopes = vec[float](slopes)

    def at(self, node: int, beyond: float) -> float:
        """Seconds `beyond` tokens after a node."""
        return self.seconds[node] + self.slopes[node] * beyond

    def __call__(self, tokens: float) -> float:
        """Seconds at so many tokens."""
        node = bisect_right(NODES, tokens) - 1
        return self.at(node, tokens - NODES[node])


class StepWork:
    """Seconds of the operators of a layout, of a step without what grows with context."""

    def __init__(
        self,
        dense: Curve,
        expert: Curve,
        head: Curve,
        network_graph: Curve,
        network_eager: Curve,
        *,
        expert_tokens: float,
        decode_s: float,
        sequence_s: float,
        prompt_s: float,
        prompt_token_s: float,
    ) -> None:
        """As `guide.perf.kernels.curves.Curves` tells of each."""
        self.dense, self.expert, self.head = dense, expert, head
        self.network_graph, self.network_eager = network_graph, network_eager
        self.expert_tokens = expert_tokens
        self.decode_s, self.sequence_s = decode_s, sequence_s
        self.prompt_s, self.prompt_token_s = prompt_s, prompt_token_s

    def seconds(
        self, prefill_tokens: float, prompts: float, decodes: float, sampled: float
    ) -> tuple[float, float, float]:
        """Of GEMMs with the launches of attention, of routed experts, of exchange."""
        tokens = prefill_tokens + decodes
        node = bisect_right(NODES, tokens) - 1
        beyond = tokens - NODES[node]
        dense = self.dense.at(node, beyond) + self.head(sampled)
        if decodes:
            dense += self.decode_s + self.sequence_s * decodes
        if prompts:
            dense += self.prompt_s + self.prompt_token_s * prefill_tokens
        captured = not prompts and tokens <= CAPTURED_TOKENS
        network = self.network_graph if captured else self.network_eager
        if self.expert_tokens == 1.0:
            experts = self.expert.at(node, beyond)
        else:
            experts = self.expert(tokens * self.expert_tokens)
        return dense, experts, network.at(node, beyond)
