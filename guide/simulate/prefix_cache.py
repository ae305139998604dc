"""What a replica keeps of prompts that ended: blocks that nobody uses, least recently used first
out.

As vLLM and SGLang do it: such blocks count as free until somebody takes them, requests that run at
once hold a common prefix once, and what a request leaves goes from its end to its beginning, so
that the prefix of a group outlives the questions asked about it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from guide.simulate.sessions import Sessions


class PrefixCache:
    """The prefixes of one replica. Keys are groups (0 and up) and chains (below 0)."""

    def __init__(self, sessions: Sessions, block_tokens: int, kv_blocks: int) -> None:
        self.sessions, self.block_tokens = sessions, block_tokens
        self.shared_blocks = sessions.shared_tokens // block_tokens
        self.idle: OrderedDict[int, int] = OrderedDict()  # blocks by key, the oldest first
        self.idle_blocks = 0
        self.owners: Counter[int] = Counter()  # requests by group that hold its prefix themselves
        self.riders: Counter[int] = Counter()  # and those that others hold it for
        self.orphans: set[int] = set()  # groups whose owner left before its riders
        self.lent: dict[int, int] = {}  # blocks of those who run that others hold
        self.ready: set[int] = set()  # owners that have all of their prefix
        self.running: Counter[int] = Counter()  # chains
        self.looked_up = 0  # tokens found of the request that was looked up last
        self.found: dict[int, int] = {}  # tokens of a request when it was admitted first
        for group, chain, tokens in sessions.before:
            for key in (chain, group):
                self._forget(key)
            self._keep(group, chain, tokens // block_tokens)
            self.fit(kv_blocks)

    def hit(self, request: int) -> int:
        """Tokens of a prompt that are found now."""
        group, seen = self.sessions.group[request], self.sessions.seen[request]
        whole = bool(self.owners[group] or self.riders[group])
        blocks = self.shared_blocks if whole else self.idle.get(group, 0)
        if seen and blocks == self.shared_blocks:
            chain = self.sessions.chain[request]
            before = seen // self.block_tokens
            blocks += before if self.running[chain] else min(before, self.idle.get(chain, 0))
        return blocks * self.block_tokens

    def lends(self, request: int) -> int:
        """Blocks of its prefix that others hold while they run."""
        group = self.sessions.group[request]
        return self.shared_blocks if self.owners[group] or self.riders[group] else 0

    def admit(self, request: int, lent: int) -> None:
        """The request that was looked up last begins; blocks that it finds idle are its own now."""
        group, chain = self.sessions.group[request], self.sessions.chain[request]
        self.found.setdefault(request, self.looked_up)
        self.lent[request] = lent
        self.riders[group] += bool(lent)
        self.running[chain] += 1
        for key in (chain, group):
            self._forget(key)

    def holds(self, request: int, blocks: int) -> None:
        """It has so many blocks now; others find its prefix as soon as that is whole."""
        if request not in self.ready and not self.lent[request] and blocks >= self.shared_blocks:
            self.ready.add(request)
            self.owners[self.sessions.group[request]] += 1

    def leave(self, request: int, blocks: int) -> int:
        """A request ends, or is preempted, with so many blocks; those of them that come free."""
        lent = self.lent.pop(request, None)
        if lent is None:  # it never began
            return blocks
        group, chain = self.sessions.group[request], self.sessions.chain[request]
        self.running[chain] -= 1
        freed = blocks - lent
        if lent:
            self.riders[group] -= 1
            if group in self.orphans and not self.riders[group]:
                self.orphans.remove(group)
                freed += self.shared_blocks
        elif request in self.ready:
            self.ready.remove(request)
            self.owners[group] -= 1
            if self.riders[group] and not self.owners[group] and group not in self.orphans:
                self.orphans.add(group)
                freed -= self.shared_blocks
        else:  # preempted within its prefix
            return freed
        self._keep(group, chain, blocks - self.shared_blocks)
        return freed

    def fit(self, free_blocks: int) -> bool:
        """Forget the oldest until what is idle is no more than what is free; whether any was."""
        evicted = self.idle_blocks > free_blocks
        while (excess := self.idle_blocks - free_blocks) > 0:
            key, blocks = next(iter(self.idle.items()))
            if blocks > excess:
                self.idle[key] = blocks - excess  # from its end
                self.idle_blocks -= excess
            else:
                self._forget(key)
        return evicted

    def _keep(self, group: int, chain: int, own_blocks: int) -> None:
        """Leave what a request had, and the prefix of its group unless somebody uses it."""
        self._forget(chain)
        if own_blocks > 0:
            self.idle[chain] = own_blocks
            self.idle_blocks += own_blocks
        if not (self.owners[group] or self.riders[group]):
            self._forget(group)
            self.idle[group] = self.shared_blocks
            self.idle_blocks += self.shared_blocks

    def _forget(self, key: int) -> None:
        self.idle_blocks -= self.idle.pop(key, 0)
