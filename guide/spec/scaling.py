"""The fields of an answer on scaling over the day."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict


class StartDocument(TypedDict):
    """Seconds until a new replica serves; not measured here."""

    estimate: Annotated[float, Field(description="As one public log tells.")]
    soonest: Annotated[float, Field(description="With image, weights and kernels on the node.")]
    latest: Annotated[float, Field(description="As long as the probes of manifests wait.")]


class ScaledDayDocument(TypedDict):
    """A simulated day under the algorithm of a HorizontalPodAutoscaler."""

    replicaHours: Annotated[float, Field(description="Hours of all replicas together.")]
    mostReplicas: Annotated[int, Field(description="Most replicas at a time.")]
    changes: Annotated[int, Field(description="Changes of the count.")]
    flaps: Annotated[
        int, Field(description="Replicas taken away and wanted back before one could start.")
    ]
    secondsOverLimit: Annotated[
        float, Field(description="Seconds with more load on a replica than its limits allow.")
    ]
    mostRequestsPerSecondOfAReplica: Annotated[
        float, Field(description="Most load on one replica.")
    ]
    usd: Annotated[float | None, Field(description="US dollars of the day.")]
    usdWithoutScaling: Annotated[
        float | None, Field(description="US dollars of the replicas of the peak, all day.")
    ]


class ScalingDocument(TypedDict):
    """Between which bounds to scale the recommended deployment over the day of the plan."""

    minReplicas: Annotated[int, Field(description="Fewest replicas.")]
    maxReplicas: Annotated[int, Field(description="Most replicas.")]
    metric: Annotated[str, Field(description="Counter of requests that the servers export.")]
    targetRequestsPerSecond: Annotated[
        float, Field(description="Load of a replica at which to scale.")
    ]
    limitRequestsPerSecond: Annotated[
        float, Field(description="Load of a replica within every limit.")
    ]
    startSeconds: Annotated[StartDocument, Field(description="Until a new replica serves.")]
    scaleDownStabilizationSeconds: Annotated[
        int, Field(description="How long fewer replicas must suffice before one goes.")
    ]
    day: Annotated[ScaledDayDocument, Field(description="What that makes of the day.")]
