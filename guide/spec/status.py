"""The status of an InferencePlan: what the operator adds to the parts of the answer that it keeps.

The values come from `guide.report.to_status` and the operator; these types describe them, for the
CRD.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from guide.spec.answer import (
    AdditionDocument,
    EngineDocument,
    EvaluationDocument,
    InventoryDocument,
    LayoutDocument,
    LimitsDocument,
    OtherFrameworkDocument,
    RejectionDocument,
    RelaxationDocument,
)
from guide.spec.edge import Edge
from guide.spec.stored import Stored

# Keeps what the operator adds about running pods without a new version of the CRD.
Open = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]


class Condition(Edge):
    """One aspect of the state, as in metav1.Condition."""

    type: str = Field(
        max_length=316, description="Ready, Reconciling, Stalled, Feasible and others."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(min_length=1, max_length=1024, description="Why, as one CamelCase word.")
    message: str = Field(max_length=32768, description="Why, as a sentence.")
    observed_generation: int | None = Field(default=None, ge=0, description="Generation judged.")
    last_transition_time: Time = Field(description="When the status last changed.")


class Summary(Edge):
    """The recommendation in a line, for printer columns."""

    gpu: str = Field(description="GPU type, several joined by +.")
    framework: str = Field(description="Inference framework.")
    tp: int = Field(description="Tensor parallelism.")
    pp: int = Field(description="Pipeline parallelism.")
    ep: int = Field(default=1, description="GPUs over which whole experts are dealt out.")
    attention_dp: int = Field(default=1, description="Attention ranks of a replica.")
    replicas: int = Field(description="Replicas over all groups.")
    hourly_usd: str | None = Field(
        default=None, alias="hourlyUSD", description="US dollars per hour; absent without a price."
    )
    ttft_p95_milliseconds: int = Field(description="Predicted p95 of the time to first token.")


class RejectionCount(Edge):
    """How many candidates one reason took."""

    reason: str = Field(description="Reason.")
    count: int = Field(description="Candidates.")


class AppliedGroup(LayoutDocument):
    """A replica group that was applied."""

    loadShare: Annotated[
        float, Field(description="Share of the requests, over all replicas of the group.")
    ]


class AppliedEngine(EngineDocument):
    """What gave the answer, and to which question."""

    inputsDigest: Annotated[
        str, Field(description="Digest of the question: plan, pools, catalogue, version.")
    ]


class AppliedStatus(Edge):
    """The deployment that mode Apply has put into the cluster."""

    groups: tuple[Stored[AppliedGroup], ...] = Field(
        description="Replica groups, one Deployment or Job each."
    )
    limits: tuple[Stored[LimitsDocument], ...] = Field(
        default=(), description="Operating points that the groups run with, in the same order."
    )
    generation: int | None = Field(default=None, description="Generation that was applied.")
    jobs: tuple[str, ...] = Field(
        default=(), description="Of an offline batch: its Jobs, which are applied once."
    )
    ended: str | None = Field(
        default=None,
        description="Of an offline batch: JobComplete or JobFailed; it holds no GPU any more.",
    )
    notStartingSince: Annotated[
        Time | None, Field(description="Since when its pods do not start.")
    ] = None
    released: bool = Field(
        default=False,
        description="Whether GPUs that no pod has taken are given back, for pods do not start.",
    )
    better_since: Time | None = Field(
        default=None, description="Since when a deployment is known that costs much less."
    )


class InferencePlanStatus(Edge):
    """The recommendation for this plan, and how far it has come."""

    observed_generation: int | None = Field(default=None, description="Generation answered.")
    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="State by aspect.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    summary: Summary | None = Field(default=None, description="The recommendation in a line.")
    best: Stored[EvaluationDocument] | None = Field(default=None, description="The recommendation.")
    alternatives: tuple[Stored[EvaluationDocument], ...] = Field(
        default=(), description="The runners-up."
    )
    other_frameworks: tuple[Stored[OtherFrameworkDocument], ...] = Field(
        default=(), description="Other frameworks that were compared, and why not these."
    )
    rejection_counts: tuple[RejectionCount, ...] = Field(default=(), description="By reason.")
    rejections: tuple[Stored[RejectionDocument], ...] = Field(
        default=(), max_length=20, description="The nearest misses."
    )
    relaxations: tuple[Stored[RelaxationDocument], ...] = Field(
        default=(), description="Changes that would make an infeasible plan feasible."
    )
    what_to_add: tuple[Stored[AdditionDocument], ...] = Field(
        default=(), description="Nodes with which an infeasible plan would be feasible."
    )
    inventory: Stored[InventoryDocument] | None = Field(
        default=None, description="What the cluster has."
    )
    engine: Stored[AppliedEngine] | None = Field(default=None, description="What gave the answer.")
    notes: tuple[str, ...] = Field(default=(), description="Remarks on the answer.")
    applied: AppliedStatus | None = Field(default=None, description="What mode Apply put there.")
    observed: Open | None = Field(default=None, description="Measurements of the running pods.")
