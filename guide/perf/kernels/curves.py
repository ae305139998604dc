"""The operators of one layout, priced by measured kernels and folded into curves over tokens.

A layer is a handful of calls (`_dense`, `_experts`, ...). Summed over the layers each becomes a
curve over the tokens of a step, read by bisection; attention stays linear in context tokens and
query-key pairs, so that runs of decode steps keep their closed form.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from guide.domain import StepShape
from guide.perf.kernels.choice import ChosenKernel
from guide.perf.terms import KernelWork
from guide.record import Record

Floats = npt.NDArray[np.float64]
TOKENS = np.array(
    [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096,
     6144, 8192, 16384, 32768],
    dtype=float,
)  # fmt: skip
LOG_TOKENS = np.log2(TOKENS)
CAPTURED_TOKENS = 512  # decode batches up to this run in CUDA graphs, with graph all-reduces


TERMS = (
    *("decode_s", "sequence_s", "prompt_s", "prompt_token_s"),
    *("context_token_s", "window_token_s", "pair_s", "window_pair_s"),
)
NODES: list[float] = [0.0, *TOKENS.tolist()]


class Curve:
    """Seconds over `NODES`, with the slope to the next node: never falling, linear between, and
    beyond the last at its slope.

    A benchmark's noise would let a server do better: where fewer tokens ran slower than more it
    could pad them, where more took longer a token it could cut them. So neither happens here.
    """

    __slots__ = ("seconds", "slopes")

    def __init__(self, seconds: Floats) -> None:
        padded = np.minimum.accumulate(seconds[::-1])[::-1]
        cut = np.minimum.accumulate(padded / TOKENS) * TOKENS
        values = np.array([cut[0], *cut])
        slopes = np.diff(values) / np.diff(NODES)
        self.seconds: list[float] = values.tolist()
        self.slopes: list[float] = [*slopes.tolist(), float(slopes[-1])]

    def at(self, node: int, beyond: float) -> float:
        """Seconds `beyond` tokens after a node."""
        return self.seconds[node] + self.slopes[node] * beyond

    def least(self, other: Curve) -> Curve:
        """The smaller of two at each node."""
        return Curve(np.minimum(self.seconds[1:], other.seconds[1:]))

    def __call__(self, tokens: float) -> float:
        """Seconds at so many tokens."""
        node = bisect_right(NODES, tokens) - 1
        return self.at(node, tokens - NODES[node])


class Used(Record, frozen=True):
    """An operator of a layer and what prices it, for a reader."""

    operator: str
    chosen: ChosenKernel
    seconds: Floats  # over `TOKENS`, all layers


class PricedOperator(Record, frozen=True):
    """An operator of one step, the kernel that prices it, and its seconds (without attention's)."""

    operator: str
    chosen: ChosenKernel
    seconds: float


class Curves(Record, frozen=True):
    """A layout on a GPU: seconds of a step's operators, before any fitted factor."""

    dense: Curve
    expert: Curve
    head: Curve
    network_graph: Curve
    network_eager: Curve
    expert_tokens: float  # tokens reach the experts from that many attention ranks
    decode_s: float  # of a step with decodes: the launches of their attention
    sequence_s: float  # more per decoding sequence
    prompt_s: float  # of a step with prompts
    prompt_token_s: float
    context_token_s: float
    window_token_s: float
    pair_s: float
    window_pair_s: float
    normed_layers: float  # with query-key norms: kernels of their own, unmeasured
    used: tuple[Used, ...]

    @property
    def numbers(self) -> tuple[float, ...]:
        """All that seconds are made of."""
        over_tokens = (
            *(self.dense, self.expert, self.head),
            *(self.network_graph, self.network_eager),
        )
        terms = (getattr(self, name) for name in TERMS)
        return (
            *(seconds for curve in over_tokens for seconds in curve.seconds),
            *(self.expert_tokens, self.normed_layers, *terms),
        )

    def work(
        self, prefill_tokens: float, prompts: float, decodes: float, sampled: float
    ) -> KernelWork:
        """Seconds of one step without what grows with context."""
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
        experts = (
            self.expert.at(node, beyond)
            if self.expert_tokens == 1.0
            else self.expert(tokens * self.expert_tokens)
        )
        return KernelWork(dense, experts, network.at(node, beyond))

    def no_slower_than(self, other: Curves) -> Curves:
        """The faster of two, operator by operator: of a GPU whose datasheet is nowhere below the
        other's, where its benchmark ran slower (a hotter chip, an older driver)."""
        return replace(
            self,
            dense=self.dense.least(other.dense),
            expert=self.expert.least(other.expert),
            head=self.head.least(other.head),
            network_graph=self.network_graph.least(other.network_graph),
            network_eager=self.network_eager.least(other.network_eager),
            **{name: min(getattr(self, name), getattr(other, name)) for name in TERMS},
        )

    def without_head(self) -> Curves:
        """The same without the output head: a pipeline stage before the last."""
        return replace(self, head=Curve(np.zeros(len(TOKENS))))

    def kernels(self, shape: StepShape) -> tuple[PricedOperator, ...]:
        """Every operator of a step with the kernel behind it, before any fitted factor."""
        tokens = shape.prefill_tokens + shape.decode_sequences
        at = {"lm_head": shape.sampled_sequences, "routed experts": tokens * self.expert_tokens}
        attention = {
            "decode attention": self.context_token_s * shape.decode_context_tokens
            + self.window_token_s * shape.decode_window_tokens
            + (self.decode_s + self.sequence_s * shape.decode_sequences)
            * (shape.decode_sequences > 0),
            "prompt attention": self.pair_s * shape.attended_pairs
            + self.window_pair_s * shape.window_pairs
            + (self.prompt_s + self.prompt_token_s * shape.prefill_tokens)
            * (shape.prefill_sequences > 0),
        }
        return tuple(
            PricedOperator(
                u.operator,
                u.chosen,
                attention[u.operator]
                if u.operator in attention
                else Curve(u.seconds)(at.get(u.operator, tokens)),
            )
            for u in self.used
        )

    def step_work(self, shape: StepShape) -> KernelWork:
        """The same for a step of a shape."""
        return self.work(
            shape.prefill_tokens,
            shape.prefill_sequences,
            shape.decode_sequences,
            shape.sampled_sequences,
        )
