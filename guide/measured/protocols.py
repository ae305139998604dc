"""Benchmark protocols as data: which lengths, how many requests, which statistic (rows of
protocols.yaml)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict

from guide.measured.measurements import Measurement
from guide.shipped import parsed

_FILE = Path(__file__).with_name("protocols.yaml")

Column = Literal[
    "source", "framework", "version", "model", "gpu", "tp", "kind", "note", "semantics"
]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LengthRule(_Row):
    """How prompt and output lengths spread around their nominal values."""

    shape: Literal["fixed", "uniform", "lognormal", "geometric", "stopped"] = "fixed"
    low: float = 1.0
    high: float = 1.0
    sigma_prompt: float = 0.0
    sigma_output: float = 0.0
    stop_tokens: float = 0.0


class Protocol(_Row):
    """One source's way to measure; see protocols.yaml."""

    name: str
    match: dict[Column, str]
    version: str | None = None  # where the published one misleads
    requests: int | None = None
    requests_per_user: int | None = None
    prompts: int | None = None
    arrivals: Literal["poisson", "constant"] = "poisson"
    lengths: LengthRule = LengthRule()
    statistic: Literal["mean", "median"] = "mean"
    max_num_seqs: int | None = None
    token_budget: int | None = None
    token_budget_per_prompt: float = 0.0  # where the budget followed the prompt length
    kv_dtype: str = ""  # where the row does not say
    prefix_hit_share: float = 0.0
    warm_prompts: int = 0
    distinct_exponent: float = 1.0
    cold_start_s: float = 0.0
    cold_start_token_s: float = 0.0
    start_lag_s: float = 0.0
    expert_ranks_noted: bool = False  # moe_tp in the note gives the GPUs that share the experts
    reserve_bytes: float = 0.0
    evidence: str

    def matches(self, row: Measurement) -> bool:
        """Whether every tested column of the measurement holds the text."""
        columns = {
            "source": row.source,
            "framework": row.framework.lower(),
            "version": row.version,
            "model": row.model,
            "gpu": row.gpu,
            "tp": str(row.tp),
            "kind": row.kind,
            "note": row.note,
            "semantics": row.semantics,
        }
        return all(text in columns[column] for column, text in self.match.items())


class VersionDate(_Row):
    """From which date (ISO, prefixes allowed) a framework version was the current one."""

    framework: str
    since: str
    version: str


@cache
def _document() -> dict[str, list[dict[str, Any]]]:
    return cast("dict[str, list[dict[str, Any]]]", parsed(_FILE))


@cache
def protocols() -> tuple[Protocol, ...]:
    """All protocols, in order of precedence."""
    return tuple(Protocol.model_validate(row) for row in _document()["protocols"])


@cache
def version_dates(framework: str) -> tuple[VersionDate, ...]:
    """The version dates of a framework, oldest first."""
    rows = (VersionDate.model_validate(row) for row in _document()["versions"])
    return tuple(sorted((r for r in rows if r.framework == framework), key=lambda r: r.since))


def protocol_of(row: Measurement) -> Protocol:
    """The first protocol that matches; the last ones are defaults by kind, so one always does."""
    return next(p for p in protocols() if p.matches(row))
