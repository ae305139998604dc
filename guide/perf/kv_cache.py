"""How a release cuts the KV cache into blocks: vLLM's hybrid manager, by groups of alike layers.

Layers that keep all tokens, those that forget and those with a state of fixed size share one pool
of blocks. Pages are made equal (a larger block, or padding), layers of a kind go into groups of
equally many, and a block serves one group. Read in vllm/v1/core/kv_cache_planning.py and
kv_cache_interface.py (0.33.0); what older releases did otherwise is in `guide.domain.MemoryRules`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property, lru_cache

from msgspec.structs import replace

from guide.domain import AttentionKind, CacheGroup, MemoryRules, ModelArch
from guide.models.arch import cache_bytes_per_token, state_bytes_per_sequence
from guide.record import Record

_STATE_ALIGNMENT_TOKENS = 16  # attention blocks beside states are multiples of a kernel's block


class LayerCache(Record, frozen=True, kw_only=True):
    """What each of some layers keeps on one GPU."""

    kind: str
    layers: tuple[int, ...]  # their places in the stack, ascending
    token_bytes: float = 0.0
    window_tokens: int | None = None
    chunked: bool = False
    state_bytes: float = 0.0  # of a sequence, instead of its tokens

    def within(self, stage: range) -> int:
        """How many of these layers are in a pipeline stage."""
        return bisect_left(self.layers, stage.stop) - bisect_left(self.layers, stage.start)


Pages = tuple[tuple[int, float], ...]  # place of a layer in the stack, bytes of its page


class BlockPlan(Record, frozen=True, kw_only=True, dict=True):  # dict: sums by stage stay
    """The groups of a model, and the page of every layer in each."""

    groups: tuple[CacheGroup, ...]
    pages: tuple[Pages, ...]

    def block_bytes(self, stage: range) -> float:
        """Bytes of a block on a GPU of this pipeline stage: those of its widest group."""
        known = self._by_stage.get(stage)
        if known is None:
            known = self._by_stage[stage] = max(
                sum(page for place, page in pages if stage.start <= place < stage.stop)
                for pages in self.pages
            )
        return known

    @cached_property
    def _by_stage(self) -> dict[range, float]:
        return {}


@lru_cache(maxsize=1024)
def layer_caches(arch: ModelArch, tp: int, element_bytes: float) -> tuple[LayerCache, ...]:
    """What the layers of `arch` keep; `element_bytes` is that of the KV type."""
    found: list[LayerCache] = []
    for group in arch.groups:
        attention = group.attention
        if attention is None:
            continue
        for cache in attention.caches:
            found.append(
                LayerCache(
                    kind=attention.kind.value,
                    layers=group.layers,
                    token_bytes=cache_bytes_per_token(cache, element_bytes, tp),
                    window_tokens=cache.window_tokens,
                    chunked=cache.chunked,
                )
            )
        if attention.state is not None:
            # beside full attention a state is that of a linear mixer (Falcon-H1)
            beside = attention.kind is AttentionKind.FULL
            kind = AttentionKind.LINEAR if beside else attention.kind
            state = state_bytes_per_sequence(attention, tp=tp)
            found.append(LayerCache(kind=kind.value, layers=group.layers, state_bytes=state))
    return tuple(_merged(found))


def _merged(caches: Sequence[LayerCache]) -> list[LayerCache]:
    """Layers that keep the same count as one kind, wherever their MLPs differ."""
    kinds: dict[LayerCache, list[int]] = {}
    for one in caches:
        kinds.setdefault(replace(one, layers=()), []).extend(one.layers)
    return [replace(kind, layers=tuple(sorted(places))) for kind, places in kinds.items()]


@lru_cache(maxsize=1024)
def block_plan(
    caches: tuple[LayerCache, ...], block_tokens: int, rules: MemoryRules
) -> BlockPlan | None:
    """The groups that `rules` make of `caches`; None for a model that keeps nothing."""
    states = any(one.state_bytes for one in caches)
    reaches = {(one.window_tokens, one.chunked) for one in caches if not one.state_bytes}
    # chunks would need VLLM_ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE
    apart = rules.hybrid_cache and not any(one.chunked for one in caches)
    if len(reaches) > 1 and not states and not apart:
        caches = tuple(replace(one, window_tokens=None, chunked=False) for one in caches)
        reaches = {(None, False)}
    if not caches:
        return None
    if len(reaches) == 1 and not states:
        return _one_group(caches, block_tokens)
    return _groups(*_equal_pages(caches, block_tokens), rules)


def _one_group(caches: Sequence[LayerCache], block_tokens: int) -> BlockPlan:
    """Every layer keeps the same tokens: a block holds the pages of all, also of unlike size."""
    first = caches[0]
    pages = tuple((at, one.token_bytes * block_tokens) for one in caches for at in one.layers)
    group = CacheGroup(
        block_tokens=block_tokens, window_tokens=first.window_tokens, chunked=first.chunked
    )
    return BlockPlan(groups=(group,), pages=(pages,))


def _equal_pages(
    caches: Sequence[LayerCache], block_tokens: int
) -> tuple[list[tuple[LayerCache, int]], float]:
    """Each kind with the tokens of its block, and the page that all share."""
    kept = [one for one in caches if not one.state_bytes]
    state = max((one.state_bytes for one in caches), default=0.0)
    widest = max((one.token_bytes for one in kept), default=0.0)
    if state and widest:
        step = _STATE_ALIGNMENT_TOKENS
        block_tokens = max(block_tokens, step * math.ceil(state / (step * widest)))
    page = max(block_tokens * widest, 0.0 if widest else state)
    return [(one, _block_tokens(one, block_tokens, page)) for one in caches], page


def _block_tokens(one: LayerCache, block_tokens: int, page: float) -> int:
    """A smaller page takes more tokens where that fills it exactly, else it is padded."""
    if one.state_bytes:
        return block_tokens
    ratio = page / (one.token_bytes * block_tokens)
    return block_tokens * round(ratio) if ratio == round(ratio) else block_tokens


def _groups(kinds: Sequence[tuple[LayerCache, int]], page: float, rules: MemoryRules) -> BlockPlan:
    """Groups of equally many layers: as many as the rarest kind has, or the most frequent one
    where the counts hardly differ."""
    counts = [len(one.layers) for one, _ in kinds]
    size = min(counts)
    if max(counts) < size * rules.uneven_groups:
        size = max(counts)
    groups: list[CacheGroup] = []
    pages: list[Pages] = []
    for one, block_tokens in kinds:
        number = math.ceil(len(one.layers) / size)
        for i in range(number):
            pages.append(tuple((place, page) for place in one.layers[i::number]))
            groups.append(
                CacheGroup(
                    block_tokens=block_tokens,
                    window_tokens=one.window_tokens,
                    chunked=one.chunked,
                    state_blocks=rules.state_blocks if one.state_bytes else 0,
                )
            )
    return BlockPlan(groups=tuple(groups), pages=tuple(pages))
