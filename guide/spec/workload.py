"""The question's numbers as users write them: load, service levels, budget, switches."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, StrictBool, model_validator

from guide.domain import Billing, Budget, Lengths, Slo, Switches, Workload
from guide.spec.day import DayProfileSpec
from guide.spec.edge import Edge, refuse, rule, rules
from guide.spec.prefixes import RULES_OF_PREFIXES, PrefixesSpec
from guide.spec.scalars import Count, Duration, Milliseconds, Percent, Quantity, Tokens
from guide.spec.speculation import SpeculationSpec
from guide.units import MILLISECOND

_P95 = "p95 must be at least the mean: raise p95 or leave it out"


class TokenLengths(Edge):
    """Distribution of a token count over requests."""

    model_config = rules(rule("!has(self.p95) || self.p95 >= self.mean", _P95))

    mean: Tokens = Field(description="Mean over requests.")
    p95: Tokens | None = Field(
        default=None,
        description="95th percentile. Absent: lengths are drawn with a p95 of twice the mean, and "
        "memory is reserved for four times the mean. State the mean for fixed lengths.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> TokenLengths:
        if self.p95 is not None and self.p95 < self.mean:
            raise refuse(
                f"p95 is {self.p95} and below the mean of {self.mean}: raise p95 or leave it out"
            )
        return self

    def to_domain(self) -> Lengths:
        """The same in domain names."""
        return Lengths(mean_tokens=self.mean, p95_tokens=self.p95)


class OfflineSpec(Edge):
    """A batch of work that is all there at the start."""

    requests: Count = Field(description="Requests of the batch.")
    complete_within: Duration | None = Field(
        default=None,
        description="Limit on the time from the first request to the last answer, such as 6h or "
        "1h30m.",
    )


_LOADS = ("requestsPerSecond", "concurrency", "offline", "dayProfile")
_ONE_LOAD = (
    "state exactly one of requestsPerSecond (open loop), concurrency (closed loop), offline (a "
    "batch) and dayProfile (an open loop over the day)"
)
_OPEN_LOOP = "arrivalCV describes an open loop: remove it, or state requestsPerSecond or dayProfile"
_MOST = "maxOutputTokens must be at least the mean output"
_CONTEXT = "maxContextTokens must hold the mean input and the mean output"


class WorkloadSpec(Edge):
    """The requests to be served."""

    model_config = rules(
        rule(
            "!has(self.arrivalCV) || has(self.requestsPerSecond) || has(self.dayProfile)",
            _OPEN_LOOP,
        ),
        rule(
            f"[{', '.join(f'has(self.{load})' for load in _LOADS)}].filter(x, x).size() == 1",
            _ONE_LOAD,
        ),
        rule(
            "!has(self.maxContextTokens) || "
            "self.maxContextTokens >= self.inputTokens.mean + self.outputTokens.mean",
            _CONTEXT,
        ),
        *RULES_OF_PREFIXES,
        rule("!has(self.maxOutputTokens) || self.maxOutputTokens >= self.outputTokens.mean", _MOST),
    )

    input_tokens: TokenLengths = Field(description="Prompt lengths.")
    output_tokens: TokenLengths = Field(description="Output lengths.")
    max_context_tokens: Tokens | None = Field(
        default=None,
        description="Longest prompt plus output to be accepted (--max-model-len). Absent: the "
        "smaller of "
        "the model's limit and what the KV cache holds.",
    )
    max_output_tokens: Tokens | None = Field(
        default=None,
        description="What clients send as max_tokens. Absent: what one answer in a hundred "
        "exceeds. It decides how many requests run at once where a framework reserves memory for "
        "it; others ignore it.",
    )
    requests_per_second: Quantity | None = Field(
        default=None,
        description="Open loop: requests that arrive per second, over all replicas. "
        "Quote decimals.",
    )
    concurrency: Count | None = Field(
        default=None,
        description="Closed loop: requests that are always in flight, over all replicas.",
    )
    offline: OfflineSpec | None = Field(
        default=None, description="A batch of requests that are all there at the start."
    )
    day_profile: DayProfileSpec | None = Field(
        default=None,
        description="Open loop that follows the day: the deployment is sized for the peak, and the "
        "answer says between which bounds to scale it.",
    )
    arrival_cv: Quantity | None = Field(
        default=None,
        alias="arrivalCV",
        description="Coefficient of variation of the times between arrivals; 1 (the default) is "
        "Poisson. Quote decimals.",
    )
    prefix_cache_hit_percent: Percent = Field(
        default=0,
        description="Share of prompt tokens found in the prefix cache, where it is known.",
    )
    prefixes: PrefixesSpec | None = Field(
        default=None,
        description="Prompts that begin alike, instead of prefixCacheHitPercent: what is found "
        "again is simulated for the router and the memory that replicas have left.",
    )
    speculation: SpeculationSpec | None = Field(
        default=None,
        description="Speculative decoding: steps that verify drafted tokens. The answer says when "
        "it pays.",
    )

    @model_validator(mode="after")
    def _one_load(self) -> WorkloadSpec:
        values = (self.requests_per_second, self.concurrency, self.offline, self.day_profile)
        stated = [name for name, value in zip(_LOADS, values, strict=True) if value is not None]
        if len(stated) != 1:
            has = f"{' and '.join(stated)} are" if stated else "none of them is"
            raise refuse(f"{has} set: {_ONE_LOAD}")
        if self.planned_per_second is None and self.arrival_cv is not None:
            raise refuse(_OPEN_LOOP)
        return self

    @model_validator(mode="after")
    def _context(self) -> WorkloadSpec:
        need = self.input_tokens.mean + self.output_tokens.mean
        if self.max_context_tokens is not None and self.max_context_tokens < need:
            raise refuse(
                f"maxContextTokens is {self.max_context_tokens}, yet the mean input and output "
                f"take {need} "
                "tokens: raise it or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _most(self) -> WorkloadSpec:
        most, mean = self.max_output_tokens, self.output_tokens.mean
        if most is not None and most < mean:
            raise refuse(
                f"maxOutputTokens is {most} and below the mean output of {mean}: no answer is "
                "longer than what its client allows, so raise it or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _prefixes(self) -> WorkloadSpec:
        if self.prefixes is not None:
            self.prefixes.check(
                *(self.input_tokens.mean, self.output_tokens.mean, self.prefix_cache_hit_percent),
                batch=self.offline and self.offline.requests,
                users=self.concurrency,
                by_day=self.day_profile is not None,
            )
        return self

    @property
    def planned_per_second(self) -> Decimal | None:
        """Requests per second of an open loop that every limit must hold."""
        day = self.day_profile
        return self.requests_per_second if day is None else day.most

    def to_domain(self) -> Workload:
        """The same in domain names and base units."""
        rate, hits = self.planned_per_second, self.prefix_cache_hit_percent / 100
        prefixes = self.prefixes and self.prefixes.to_domain()
        if prefixes is not None:
            hits = prefixes.most_hit_share(self.input_tokens.mean, self.output_tokens.mean)
        return Workload(
            prompt=self.input_tokens.to_domain(),
            output=self.output_tokens.to_domain(),
            requests_per_s=None if rate is None else float(rate),
            concurrency=self.concurrency,
            offline=self.offline and self.offline.requests,
            arrival_cv=1.0 if self.arrival_cv is None else float(self.arrival_cv),
            prefix_hit_share=hits,
            max_context_tokens=self.max_context_tokens,
            max_output_tokens=self.max_output_tokens,
            prefixes=prefixes,
        )


class SloSpec(Edge):
    """Service levels to hold; what is absent has no limit."""

    ttft_p95_milliseconds: Milliseconds | None = Field(
        default=None, description="Limit on the 95th percentile of the time to first token."
    )
    tpot_p95_milliseconds: Milliseconds | None = Field(
        default=None, description="Limit on the 95th percentile of the time per output token."
    )
    e2e_p95_milliseconds: Milliseconds | None = Field(
        default=None,
        alias="e2eP95Milliseconds",
        description="Limit on the 95th percentile of the time from arrival to last token.",
    )
    min_output_tokens_per_second: Tokens | None = Field(
        default=None, description="Least output tokens per second, over all replicas."
    )

    def to_domain(self) -> Slo:
        """The same in seconds."""
        return Slo(
            ttft_p95_s=_seconds(self.ttft_p95_milliseconds),
            tpot_p95_s=_seconds(self.tpot_p95_milliseconds),
            e2e_p95_s=_seconds(self.e2e_p95_milliseconds),
            min_output_tokens_per_s=self.min_output_tokens_per_second,
        )


class BudgetSpec(Edge):
    """What may be spent; what is absent has no limit."""

    max_hourly_usd: Quantity | None = Field(
        default=None,
        alias="maxHourlyUSD",
        description="Most US dollars per hour, over all replicas. Quote decimals.",
    )
    max_gpus: Count | None = Field(
        default=None, alias="maxGPUs", description="Most GPUs, over all replicas."
    )
    billing: Literal["Nodes", "FreeGPUs"] = Field(
        default="Nodes",
        description="What is on the bill: each node in use as a whole, or, where the nodes are "
        "there and paid, only the GPUs in use.",
    )

    def to_domain(self) -> Budget:
        """The same in domain names."""
        usd = self.max_hourly_usd
        return Budget(
            max_usd_per_h=None if usd is None else float(usd),
            max_gpus=self.max_gpus,
            billing=Billing(self.billing),
        )


class OptimizationsSpec(Edge):
    """Switches for what-if questions: they change the predicted time and memory."""

    flash_attention: StrictBool = Field(
        default=True, description="Attention fused as in FlashAttention."
    )
    h2o_keep_percent: Annotated[Percent, Field(ge=1)] = Field(
        default=100,
        alias="h2oKeepPercent",
        description="Share of the KV cache kept by heavy-hitter eviction (H2O); 100 keeps all.",
    )

    def to_domain(self) -> Switches:
        """The same as shares."""
        return Switches(
            flash_attention=self.flash_attention, h2o_keep_share=self.h2o_keep_percent / 100
        )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds * MILLISECOND
