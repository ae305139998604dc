"""Prompts that begin alike: how many such beginnings there are, and who sends a prompt where its
beginning lies."""

from __future__ import annotations

import math
from enum import StrEnum

from msgspec.structs import replace

from guide.record import Record


class Router(StrEnum):
    """What decides which replica gets a request."""

    ROUND_ROBIN = "RoundRobin"  # any of them: a Service
    SESSION_AFFINITY = "SessionAffinity"  # the one that a hash of the group names
    PREFIX_AWARE = "PrefixAware"  # the longest match; among equals the least load


class Prefixes(Record, frozen=True, kw_only=True):
    """Groups of prompts with a common beginning, each asked as often as the others.

    With several turns a group is one conversation at a time, which begins with the shared tokens;
    each prompt repeats what was said before.
    """

    groups: int
    shared_tokens: int
    turns: int = 1
    router: Router = Router.ROUND_ROBIN
    seen: float = 1.0  # share of a group's requests that one replica gets

    def times(self, load: float) -> Prefixes:
        """Under so many times the load: people think as long as before, so there are more
        conversations; documents are asked about more often."""
        if self.turns == 1:
            return self
        return replace(self, groups=max(1, math.ceil(self.groups * load - 1e-9)))

    def new_tokens(self, prompt: float, output: float) -> float:
        """Tokens that a user adds in each turn, so that prompts have this mean over the turns.

        Turn t (0, 1, ...) has a prompt of shared + (t + 1) new + t answers.
        """
        own = prompt - self.shared_tokens
        return (2 * own - output * (self.turns - 1)) / (self.turns + 1)

    def fit(self, prompt: float, output: float) -> bool:
        """Whether prompts of this mean hold what is shared and said before, and at least one token
        more of their own in each turn."""
        return self.shared_tokens < prompt and self.new_tokens(prompt, output) >= 1

    def own_tokens(self, turn: int, prompt: float, output: float) -> float:
        """Tokens of the prompt of a turn that its group does not share."""
        return self.new_tokens(prompt, output) * (turn + 1) + output * turn

    def most_hit_share(self, prompt: float, output: float) -> float:
        """Share of prompt tokens that one replica finds if it forgets nothing and gets all."""
        before = (self.new_tokens(prompt, output) + output) * (self.turns - 1) / 2
        return (self.shared_tokens + before) / prompt


class RouterPoint(Record, frozen=True, kw_only=True):
    """What a deployment does behind one router."""

    router: Router
    replicas: int
    hit_share: float  # of prompt tokens
    ttft_p95_s: float | None  # of the busiest replica; None: its queue keeps growing
    capacity_per_s: float | None  # requests/s at saturation; of a closed loop what is served
    holds: bool  # whether it keeps the limits under the load of the plan


class PrefixAdvice(Record, frozen=True, kw_only=True):
    """What the routers make of the recommended layout."""

    prefixes: Prefixes
    most_hit_share: float  # if nothing were forgotten
    points: tuple[RouterPoint, ...]  # by replicas, those of the answer first, then router

    @property
    def planned(self) -> RouterPoint:
        """The replicas of the answer behind the router of the plan."""
        return self.behind(self.prefixes.router)

    def behind(self, router: Router) -> RouterPoint:
        """The replicas of the answer behind another one."""
        return next(point for point in self.points if point.router is router)
