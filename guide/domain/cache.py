"""How the KV cache of one GPU is cut into blocks, and what a request takes of them."""

from __future__ import annotations

import math

from guide.record import Record


class CacheGroup(Record, frozen=True, kw_only=True):
    """Layers that take blocks together, one block for all of them at a time."""

    block_tokens: int
    window_tokens: int | None = None  # older tokens are given back; None: all are kept
    chunked: bool = False  # the window is a chunk, which starts at a whole block
    state_blocks: int = 0  # of a layer that keeps a state, however long the request

    def blocks(self, tokens: int, in_flight_tokens: int) -> int:
        """Blocks of a request of `tokens`, of which some are being computed beside the window."""
        if self.state_blocks:
            return self.state_blocks
        if self.window_tokens is None:
            return math.ceil(tokens / self.block_tokens)
        if self.chunked:
            return math.ceil(min(self.window_tokens + in_flight_tokens, tokens) / self.block_tokens)
        kept = min(self.window_tokens - 1 + in_flight_tokens, tokens)
        return math.ceil(kept / self.block_tokens) + 1  # a window may begin inside a block


class CachePool(Record, frozen=True, kw_only=True):
    """The blocks of one GPU, all of one size, from which the groups of a request take theirs."""

    blocks: int
    groups: tuple[CacheGroup, ...]
    in_flight_tokens: int  # what the largest steps under way compute for one request

    def reserved_blocks(self, tokens: int) -> int:
        """What a request of `tokens` may take at most: the server admits by this."""
        return sum(group.blocks(tokens, self.in_flight_tokens) for group in self.groups)

    def held_blocks(self, tokens: int) -> int:
        """What a request of `tokens` holds while it decodes."""
        return sum(
            group.state_blocks
            or min(group.blocks(tokens, 1), math.ceil(tokens / group.block_tokens))
            for group in self.groups
        )

    def concurrency(self, tokens: int) -> float:
        """Requests of `tokens` that may be there at once: "maximum concurrency" in vLLM's log."""
        return self.blocks / self.reserved_blocks(tokens)

    def longest_request(self, most: int) -> int:
        """The most tokens up to `most` that one request can have; 0 without any."""
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            if self.reserved_blocks(middle) <= self.blocks:
                low = middle
            else:
                high = middle - 1
        return low
