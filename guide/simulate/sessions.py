"""Whose prompt each request is: what a router leaves to one replica, and the turns that it sees.

A deployment is simulated by its busiest replica, so a router is what that replica gets: how many
groups, which share of their requests, and how much more than its part of the load.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from random import Random
from statistics import fmean

from msgspec.structs import replace

from guide.domain import Lengths, Prefixes, Router, Workload
from guide.record import Record

DEALS = 64  # of groups by hash, of which the mean busiest replica is taken
BEFORE = 5  # requests of each group that the cache remembers at the start, at the most
MOST_BEFORE_TOKENS = 20_000_000  # and tokens: more than fills any cache


class Sessions(Record, frozen=True, kw_only=True):
    """One element a request: its group, the chain of its conversation (below 0), and the tokens
    beyond the shared ones that this replica has seen in it; `before`: group, chain and tokens
    beyond the shared ones of requests that ended before the first.
    """

    shared_tokens: int
    group: list[int]
    chain: list[int]
    seen: list[int]
    before: list[tuple[int, int, int]]


def dealt(prefixes: Prefixes, replicas: int, share: float = 1.0) -> tuple[Prefixes, float]:
    """What the busiest of `replicas`, which get `share` of all requests, sees of the groups; and
    its load over that of a mean replica.
    """
    groups = prefixes.groups
    match prefixes.router:
        case Router.ROUND_ROBIN:
            here, seen, times = groups, share / replicas, 1.0
        case Router.SESSION_AFFINITY:
            busiest = _busiest(groups, replicas)
            here, seen, times = math.ceil(busiest), share, busiest * replicas / groups
        case Router.PREFIX_AWARE:  # load settles ties, so groups are spread evenly
            here = math.ceil(groups / replicas)
            seen, times = share * min(1.0, groups / replicas), 1.0
    # what makes no difference any more is left out, so that like runs are shared
    seen = 1.0 if prefixes.turns == 1 else float(f"{seen:.9g}")
    return replace(prefixes, groups=here, seen=seen, router=Router.ROUND_ROBIN), times


def over_ranks(prefixes: Prefixes, ranks: int) -> Prefixes:
    """What the caches of a replica see whose attention runs in data parallel: each rank has one,
    and gets a request by the length of its queue, as behind a Service. One pool holds them all.
    """
    seen = 1.0 if prefixes.turns == 1 else prefixes.seen / ranks
    return replace(prefixes, groups=prefixes.groups * ranks, seen=seen)


@lru_cache(maxsize=256)
def _busiest(groups: int, replicas: int) -> float:
    """Groups of the replica that a hash gives the most of them, on average."""
    if replicas == 1:
        return groups
    draw = Random(f"hash {groups}")
    return fmean(
        max(Counter(draw.choices(range(replicas), k=groups)).values()) for _ in range(DEALS)
    )


def own_lengths(workload: Workload, prefixes: Prefixes) -> Lengths:
    """The law of the part of prompts that their group does not share."""
    prompt, shared = workload.prompt, prefixes.shared_tokens
    p95 = prompt.p95_tokens or 2 * prompt.mean_tokens
    return Lengths(
        mean_tokens=max(1.0, prompt.mean_tokens - shared), p95_tokens=max(1.0, p95 - shared)
    )


@lru_cache(maxsize=64)
def sessions_of(
    prefixes: Prefixes, own: tuple[int, ...], prompt: float, output: float, seed: int
) -> tuple[tuple[int, ...], Sessions]:
    """Prompts as they come to one replica, from the drawn tokens that each has of its own; and
    whose they are. `prompt` and `output` are mean tokens.

    Of turns that went elsewhere in between it knows by chance: each comes here with the same
    probability. A conversation is as long as its first prompt says, so that what was said before is
    part of every later prompt.
    """
    turns, told = _Turns(prefixes, prompt, output, f"group {seed}"), prefixes.shared_tokens
    ended: list[tuple[int, int, float]] = []
    tokens = 0.0
    for place in range(BEFORE * prefixes.groups):
        group, chain, length, _ = turns.next(own[place % len(own)])
        ended.append((group, chain, length))
        tokens += told + length + output
        if tokens > MOST_BEFORE_TOKENS:
            break
    came = [turns.next(drawn) for drawn in own]
    scale = sum(own) / sum(length for *_, length, _ in came)  # to the asked mean
    lengths = [max(1, round(scale * length)) for *_, length, _ in came]
    sessions = Sessions(
        shared_tokens=told,
        group=[group for group, *_ in came],
        chain=[chain for _, chain, *_ in came],
        seen=[int(length * known) for length, (*_, known) in zip(lengths, came, strict=True)],
        before=[(group, chain, round(scale * length + output)) for group, chain, length in ended],
    )
    return tuple(told + length for length in lengths), sessions


class _Turns:
    """The conversations of a replica."""

    def __init__(self, prefixes: Prefixes, prompt: float, output: float, dice: str) -> None:
        self.draw, self.prefixes = Random(dice), prefixes
        self.mean = max(1.0, prompt - prefixes.shared_tokens)
        self.own = [prefixes.own_tokens(t, prompt, output) for t in range(prefixes.turns)]
        self.output = output
        self.chains = 0
        self.now: dict[int, tuple[int, int, float]] = {}  # chain, last turn here, its factor

    def next(self, drawn: float) -> tuple[int, int, float, float]:
        """Group, chain, own tokens where a mean prompt has as many as `drawn`, and which share of
        them came here in an earlier turn."""
        turns, draw = self.prefixes.turns, self.draw
        group = draw.randrange(self.prefixes.groups)
        chain, last, of_a_mean = self.now.get(group, (0, -1, 1.0))
        # the first that is seen of a group is in the midst of it
        turn = last + self._gone_on() if chain else turns + draw.randrange(turns)
        known = 0.0
        if turn >= turns:
            self.chains += 1
            chain, turn, of_a_mean = -self.chains, turn % turns, drawn / self.mean
        elif last >= 0:
            known = (self.own[last] + self.output) / self.own[turn]
        self.now[group] = chain, turn, of_a_mean
        return group, chain, self.own[turn] * of_a_mean, known

    def _gone_on(self) -> int:
        """Turns since the last that came here: geometric."""
        seen = self.prefixes.seen
        if seen >= 1 or self.prefixes.turns == 1:
            return 1
        return 1 + int(math.log(1 - self.draw.random()) / math.log(1 - seen))
