"""The answer of the JSON API as types, for OpenAPI; `guide.report.document` writes it."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict


class IntervalBody(TypedDict):
    """A 90 % interval."""

    lower: float
    upper: float


class LatencyBody(TypedDict):
    """Percentiles in seconds; the interval is that of the p95."""

    mean: float
    p50: float
    p95: float
    p99: float
    interval90: IntervalBody


class RateBody(TypedDict):
    """A rate per second."""

    value: float
    interval90: IntervalBody


class PredictedBody(TypedDict):
    """What one deployment is predicted to do."""

    ttftSeconds: LatencyBody
    tpotSeconds: LatencyBody
    e2eSeconds: LatencyBody
    outputTokensPerSecond: RateBody
    requestsPerSecond: RateBody


class EvaluationBody(TypedDict):
    """One deployment that was simulated."""

    groups: list[dict[str, Any]]
    predicted: PredictedBody
    gpus: int
    usdPerHour: float | None
    usdPerMillionOutputTokens: float | None
    provenance: Literal["Calibrated", "Extrapolated"]


class RejectionBody(TypedDict):
    """A candidate that lost; `margin` is the relative distance to the limit."""

    candidate: dict[str, Any]
    reason: str
    detail: str
    margin: float


RelaxationBody = TypedDict("RelaxationBody", {"field": str, "from": float, "to": float})


class RecommendationBody(TypedDict):
    """What `guide plan -o json` prints."""

    apiVersion: Literal["guide.dev/v1alpha1"]
    kind: Literal["Recommendation"]
    feasible: bool
    best: EvaluationBody | None
    alternatives: list[EvaluationBody]
    highestThroughput: EvaluationBody | None
    lowestLatency: EvaluationBody | None
    pareto: list[EvaluationBody]
    candidates: int
    rejectionCounts: dict[str, int]
    rejections: list[RejectionBody]
    relaxations: list[RelaxationBody]
    combinedRelaxation: list[RelaxationBody]
    contextTiers: list[dict[str, Any]]
    inventory: dict[str, Any]
    notes: list[str]
    engine: dict[str, Any]


class ErrorBody(TypedDict):
    """One sentence, and the path of the field where there is one."""

    message: str
    field: str | None


class ProblemBody(TypedDict):
    """Why there is no answer."""

    error: ErrorBody
