"""Prompts with a common beginning as plans write them, and routers as answers compare them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt
from typing_extensions import TypedDict

from guide.domain import Prefixes, Router
from guide.spec.edge import Edge, refuse, rule
from guide.spec.scalars import Count, Tokens

MOST_TURNS = 64
RouterName = Literal["RoundRobin", "SessionAffinity", "PrefixAware"]

_ONE_HIT_SHARE = (
    "prefixes says what is found again: remove prefixCacheHitPercent, which states it outright"
)
_SHARED = (
    "prefixes.sharedTokens must be below the mean input: each prompt adds something of its own"
)
_TURNS = (
    "inputTokens.mean is too small for prefixes.turns: over the turns a mean prompt holds "
    "sharedTokens and half of the answers of the other turns before anything new"
)
_BATCH = (
    "an offline batch has no turns, no router and no more groups than requests: set prefixes.turns "
    "to 1, prefixes.router to RoundRobin, and prefixes.groups to the size of the batch at most"
)
_CONVERSATIONS = (
    "with prefixes.turns above 1 each group is one conversation, which waits for its answers: "
    "prefixes.groups must be at least concurrency"
)
_DAY = (
    "replicas that follow a dayProfile come and go, and only with prefixes.turns 1 and "
    "prefixes.router RoundRobin does each find as much whatever their number: set both, or state "
    "the peak as requestsPerSecond instead of dayProfile"
)
# the API server knows no defaults of ours
_NUMBER_OF_TURNS = "(has(self.prefixes.turns) ? self.prefixes.turns : 1)"
_BY_CHANCE = "(!has(self.prefixes.router) || self.prefixes.router == 'RoundRobin')"
# of a workload, the same as `PrefixesSpec.check`
RULES_OF_PREFIXES = tuple(
    rule(f"!has(self.prefixes) || {cel}", message)
    for cel, message in (
        ("!has(self.prefixCacheHitPercent) || self.prefixCacheHitPercent == 0", _ONE_HIT_SHARE),
        ("self.prefixes.sharedTokens < self.inputTokens.mean", _SHARED),
        (
            "self.prefixes.sharedTokens >= self.inputTokens.mean || "
            f"{_NUMBER_OF_TURNS} > {MOST_TURNS} || "
            "2 * (self.inputTokens.mean - self.prefixes.sharedTokens) > "
            f"self.outputTokens.mean * ({_NUMBER_OF_TURNS} - 1) + {_NUMBER_OF_TURNS}",
            _TURNS,
        ),
        (
            f"!has(self.offline) || {_NUMBER_OF_TURNS} == 1 && {_BY_CHANCE} && "
            "self.prefixes.groups <= self.offline.requests",
            _BATCH,
        ),
        (
            f"!has(self.concurrency) || {_NUMBER_OF_TURNS} == 1 || "
            "self.prefixes.groups >= self.concurrency",
            _CONVERSATIONS,
        ),
        (f"!has(self.dayProfile) || {_NUMBER_OF_TURNS} == 1 && {_BY_CHANCE}", _DAY),
    )
)


class PrefixesSpec(Edge):
    """Groups of prompts with a common beginning: a system prompt, a document, a conversation."""

    groups: Count = Field(
        description="Beginnings in use, each as often as the others; with several turns, "
        "conversations at a time."
    )
    shared_tokens: Tokens = Field(description="Tokens that all prompts of a group begin with.")
    turns: Annotated[StrictInt, Field(ge=1, le=MOST_TURNS)] = Field(
        default=1,
        description="Requests of a conversation: the prompt of each contains the prompts and "
        "answers before it, and inputTokens is the law over all turns.",
    )
    router: RouterName = Field(
        default="RoundRobin",
        description="What deals requests out to replicas: any of them (RoundRobin, as a Service "
        "does), the one that a hash of the group names (SessionAffinity), or the one that has seen "
        "most of the prompt, and among these the least busy (PrefixAware).",
    )

    def check(
        self,
        prompt: int,
        output: int,
        hit_percent: int,
        *,
        batch: int | None,
        users: int | None,
        by_day: bool,
    ) -> None:
        """Refuse what contradicts the rest of the workload: mean tokens, the stated hits, the
        requests of an offline batch, the users of a closed loop, and whether it follows a day."""
        if hit_percent:
            raise refuse(_ONE_HIT_SHARE)
        if self.shared_tokens >= prompt:
            raise refuse(
                f"prefixes.sharedTokens is {self.shared_tokens} and the mean input {prompt}: it "
                "must be below, since each prompt adds something of its own"
            )
        if 2 * (prompt - self.shared_tokens) <= output * (self.turns - 1) + self.turns:
            raise refuse(_TURNS)
        plain = self.turns == 1 and self.router == "RoundRobin"
        if batch is not None and not (plain and self.groups <= batch):
            raise refuse(_BATCH)
        if users is not None and self.turns > 1 and self.groups < users:
            raise refuse(_CONVERSATIONS)
        if by_day and not plain:
            raise refuse(_DAY)

    def to_domain(self) -> Prefixes:
        """The same in domain names."""
        return Prefixes(
            groups=self.groups,
            shared_tokens=self.shared_tokens,
            turns=self.turns,
            router=Router(self.router),
        )


class RouterPointDocument(TypedDict):
    """The recommended layout behind one router."""

    router: Annotated[str, Field(description="What deals requests out to replicas.")]
    replicas: Annotated[int, Field(description="Replicas, alike in all else.")]
    hitShare: Annotated[float, Field(description="Share of prompt tokens found in the cache.")]
    ttftP95Seconds: Annotated[
        float | None, Field(description="Of the busiest replica; null: the queue keeps growing.")
    ]
    capacityRequestsPerSecond: Annotated[
        float | None,
        Field(
            description="Requests/s at saturation, or what is served of a closed loop; null for a "
            "batch."
        ),
    ]
    holds: Annotated[bool, Field(description="Whether it keeps the limits under the load asked.")]


class PrefixesDocument(TypedDict):
    """What routers make of the prefixes of the plan; unmeasured here."""

    router: Annotated[str, Field(description="That of the plan, by which the answer was found.")]
    hitShare: Annotated[float, Field(description="Share of prompt tokens found behind it.")]
    mostHitShare: Annotated[float, Field(description="If one cache held all and forgot nothing.")]
    routers: list[RouterPointDocument]
    measured: Annotated[bool, Field(description="Always false: nobody measured this here.")]
