"""The load of a day as users write it: its low, mean and peak, or a recorded day."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, model_validator

from guide.domain import DayProfile, Lengths
from guide.spec.edge import Edge, refuse, rule, rules
from guide.spec.scalars import Quantity, Rate

MOST_PARTS = 288  # of five minutes
_ORDER = "low, mean and peak must be in this order"
_EITHER = "state low, mean and peak, or requestsPerSecond of equal parts of the day"
_SILENT = "a day without arrivals: state at least one number above 0"
_STATED = ("low", "mean", "peak")
_BOTH = " && ".join(f"{{}}has(self.{name})" for name in (*_STATED, "requestsPerSecond"))


class DayProfileSpec(Edge):
    """Requests per second over a day, over all replicas."""

    model_config = rules(
        rule(
            f"({_BOTH.format('', '', '', '!')}) || ({_BOTH.format('!', '!', '!', '')})",
            _EITHER,
        ),
        rule(
            "!has(self.low) || !has(self.mean) || !has(self.peak) || double(self.low) <= "
            "double(self.mean) && double(self.mean) <= double(self.peak)",
            _ORDER,
        ),
        rule(
            "!has(self.requestsPerSecond) || self.requestsPerSecond.exists(x, double(x) > 0.0)",
            _SILENT,
        ),
    )

    low: Quantity | None = Field(
        default=None, description="In the quietest moment. Quote decimals."
    )
    mean: Quantity | None = Field(
        default=None, description="On average over the day. Quote decimals."
    )
    peak: Quantity | None = Field(
        default=None, description="At the peak, which every limit must hold. Quote decimals."
    )
    requests_per_second: Annotated[
        tuple[Rate, ...] | None, Field(min_length=2, max_length=MOST_PARTS)
    ] = Field(
        default=None,
        description="A recorded day instead of the three: the mean of each of equal parts of the "
        "day, such as 24 hours or 96 quarters of an hour. `guide workload --trace FILE` writes it. "
        "Quote decimals.",
    )

    @model_validator(mode="after")
    def _one_day(self) -> DayProfileSpec:
        stated = [name for name in _STATED if getattr(self, name) is not None]
        recorded = self.requests_per_second
        if len(stated) != (0 if recorded is not None else len(_STATED)):
            raise refuse(_EITHER)
        if recorded is not None:
            if not any(recorded):
                raise refuse(_SILENT)
            return self
        low, mean, peak = (getattr(self, name) for name in _STATED)
        if not low <= mean <= peak:
            raise refuse(f"{_ORDER}, and are {low}, {mean} and {peak}")
        return self

    @property
    def most(self) -> Decimal:
        """Requests per second at the peak."""
        stated = self.peak if self.requests_per_second is None else max(self.requests_per_second)
        assert stated is not None  # by the validator
        return stated

    def to_domain(self) -> DayProfile:
        """The same in domain names."""
        recorded = tuple(map(float, self.requests_per_second or ()))
        low, mean, peak = (getattr(self, name) for name in _STATED)
        return DayProfile(
            low_per_s=min(recorded) if recorded else float(low),
            mean_per_s=sum(recorded) / len(recorded) if recorded else float(mean),
            peak_per_s=max(recorded) if recorded else float(peak),
            recorded_per_s=recorded,
        )


def workload_document(prompt: Lengths, output: Lengths, day: DayProfile) -> dict[str, Any]:
    """A recorded day as a plan holds it, below `spec`."""
    rates = [f"{rate:.4f}".rstrip("0").rstrip(".") for rate in day.recorded_per_s]
    return {
        "workload": {
            "inputTokens": _tokens(prompt),
            "outputTokens": _tokens(output),
            "dayProfile": {"requestsPerSecond": rates},
        }
    }


def _tokens(lengths: Lengths) -> dict[str, int]:
    mean, p95 = round(lengths.mean_tokens), lengths.p95_tokens
    return {"mean": mean} | ({} if p95 is None else {"p95": max(mean, round(p95))})
