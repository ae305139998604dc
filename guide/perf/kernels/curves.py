"""The operators of one layout, priced by measured kernels and folded into curves over tokens.

A layer is a handful of calls (`_dense`, `_experts`, ...). Summed over the layers each becomes a
curve over the tokens of a step, read by bisection; attention stays linear in context tokens and
query-key pairs, so that runs of decode steps keep their closed form.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from guide.domain import StepShape
from guide.perf.kernels.choice import ChosenKernel
from guide.perf.kernels.step_work import NODES, Curve, StepWork
from guide.perf.terms import KernelWork
from guide.record import Record

Floats = npt.NDArray[np.float64]
TOKENS = np.array(NODES[1:])
LOG_TOKENS = np.log2(TOKENS)

TERMS = (
    *("decode_s", "sequence_s", "prompt_s", "prompt_token_s"),
    *("context_token_s", "window_token_s", "pair_s", "window_pair_s"),
)
APART = np.diff(NODES)


def curve(seconds: Floats) -> Curve:
    """The curve through seconds over `TOKENS`; layouts share most of theirs."""
    return _through(seconds.tobytes())


@lru_cache(maxsize=4096)
def _through(seconds: bytes) -> Curve:
    """Never falling: a benchmark's noise would let a server do better. Where fewer tokens ran
    slower than more it could pad them, where more took longer a token it could cut them. So neither
    happens here.
    """
    padded = np.minimum.accumulate(np.frombuffer(seconds)[::-1])[::-1]
    cut = np.minimum.accumulate(padded / TOKENS) * TOKENS
    values = np.array([cut[0], *cut])
    slopes = (values[1:] - values[:-1]) / APART
    return Curve(values.tolist(), [*slopes.tolist(), float(slopes[-1])])


def _least(one: Curve, other: Curve) -> Curve:
    """The smaller of two at each node."""
    return curve(np.minimum(one.seconds[1:], other.seconds[1:]))


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


class Curves(Record, frozen=True, dict=True):
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

    @cached_property
    def steps(self) -> StepWork:
        """What steps are asked of it."""
        return StepWork(
            *(self.dense, self.expert, self.head, self.network_graph, self.network_eager),
            expert_tokens=self.expert_tokens,
            decode_s=self.decode_s,
            sequence_s=self.sequence_s,
            prompt_s=self.prompt_s,
            prompt_token_s=self.prompt_token_s,
        )

    def work(
        self, prefill_tokens: float, prompts: float, decodes: float, sampled: float
    ) -> KernelWork:
        """Seconds of one step without what grows with context."""
        return KernelWork(*self.steps.seconds(prefill_tokens, prompts, decodes, sampled))

    def no_slower_than(self, other: Curves) -> Curves:
        """The faster of two, operator by operator: of a GPU whose datasheet is nowhere below the
        other's, where its benchmark ran slower (a hotter chip, an older driver)."""
        return replace(
            self,
            dense=_least(self.dense, other.dense),
            expert=_least(self.expert, other.expert),
            head=_least(self.head, other.head),
            network_graph=_least(self.network_graph, other.network_graph),
            network_eager=_least(self.network_eager, other.network_eager),
            **{name: min(getattr(self, name), getattr(other, name)) for name in TERMS},
        )

    def without_head(self) -> Curves:
        """The same without the output head: a pipeline stage before the last."""
        return replace(self, head=curve(np.zeros(len(TOKENS))))

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
                else curve(u.seconds)(at.get(u.operator, tokens)),
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
