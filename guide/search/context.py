"""The longest context that each number of GPUs holds: the ladder to climb when one does not fit."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from functools import lru_cache

from guide.domain import ContextTier, MemoryFit
from guide.perf.adjust import CONTEXT_STEP_TOKENS, longest_sequence
from guide.perf.memory import memory_fit
from guide.search.operating_point import default_limits
from guide.search.space import Shape


def context_tiers(placeable: Iterable[Shape]) -> tuple[ContextTier, ...]:
    """For every number of GPUs of a replica, the layout with the longest context (P7), among those
    that the rules of a layout admit.

    Only what memory and the model allow counts, not speed or price. Of equal contexts the layout
    that gives up less precision wins, then the first by name.
    """
    best: dict[int, tuple[tuple[int, int, tuple[object, ...]], ContextTier]] = {}
    for shape in placeable:
        known = best.get(shape.gpus)
        most = shape.variant.model.max_context_tokens
        if known is not None and known[0] < (-most, shape.variant.loss, shape.key):
            continue
        tokens = _longest(shape.anywhere)
        if tokens <= 0:
            continue
        key = (-tokens, shape.variant.loss, shape.key)
        if known is None or key < known[0]:
            best[shape.gpus] = (key, _tier(shape, tokens))
    return tuple(best[gpus][1] for gpus in sorted(best))


@lru_cache(maxsize=4096)
def _longest(shape: Shape) -> int:
    most = shape.variant.model.max_context_tokens

    def held(tokens: int) -> MemoryFit:
        limits = default_limits(shape, tokens)
        return memory_fit(shape.group(limits), shape.release, shape.switches)

    if shape.switches.flash_attention:
        return longest_sequence(held(most), most, 0)
    steps = range(CONTEXT_STEP_TOKENS, most + 1, CONTEXT_STEP_TOKENS)  # scores grow with each
    fit = bisect_left(steps, True, key=lambda tokens: held(tokens).longest_request(tokens) < tokens)
    return fit * CONTEXT_STEP_TOKENS


def _tier(shape: Shape, tokens: int) -> ContextTier:
    return ContextTier(gpus=shape.gpus, tokens=tokens, gpu=shape.gpu.name, layout=shape.key)
