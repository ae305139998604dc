"""The operator's settings, read once from the environment: GUIDE_WORKERS=2 sets `workers`."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field, Json, ValidationError

from guide.cluster.taints import NodeBounds
from guide.errors import SpecError
from guide.spec.pods import HARMLESS
from guide.spec.tolerations import Toleration

PREFIX = "GUIDE_"


class Settings(BaseModel):
    """All that a user can tune; the defaults suit clusters of a few hundred nodes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(
        default=2, ge=1, le=64, description="Processes that work out recommendations."
    )
    metrics_port: int = Field(default=8080, ge=0, le=65535, description="Port of /metrics.")
    metrics_by_token: bool = Field(
        default=False,
        description="Whether only bearers of a token that may get /metrics are given them.",
    )
    health_port: int = Field(
        default=8081, ge=0, le=65535, description="Port of /healthz and /readyz."
    )
    bind_address: str = Field(default="0.0.0.0", description="Address of both ports.")
    resync_s: float = Field(
        default=600, ge=1, description="Seconds after which a plan is looked at again unasked."
    )
    settle_s: float = Field(
        default=5,
        ge=0,
        description="Seconds over which changes of nodes and pods are gathered before plans "
        "are looked at again.",
    )
    max_backoff_s: float = Field(
        default=60, ge=1, description="Longest wait in seconds between attempts after an error."
    )
    longest_question_s: float = Field(
        default=20,
        gt=0,
        description="Seconds of computing that one plan may cost before it is given up.",
    )
    release_s: float = Field(
        default=900,
        gt=0,
        description="Seconds after which GPUs are given back that were reserved for pods which "
        "do not start.",
    )
    sweep_s: float = Field(
        default=300,
        ge=1,
        description="Seconds between two comparisons of what was watched with what is there.",
    )
    stuck_s: float = Field(
        default=600,
        gt=0,
        description="Seconds without any progress of the queue or the workers after which "
        "/healthz fails, so that the kubelet starts anew.",
    )
    gpus_file: str = Field(
        default="", description="File with more GPU specifications (format of gpus.yaml)."
    )
    prices_file: str = Field(
        default="", description="File with prices that come before the shipped ones."
    )
    node_pools_file: str = Field(
        default="", description="File with node pools that an autoscaler could add."
    )
    tolerations: Json[tuple[Toleration, ...]] = Field(
        default=(),
        description="Taints that the pods of every plan may tolerate, as JSON, as in a pod.",
    )
    deployment_fields: Json[tuple[str, ...]] = Field(
        default=HARMLESS,
        description="Fields of spec.deployment that plans of mode Apply may set besides images, "
        "arguments, token and claim, and output.gateway, as JSON.",
    )
    hide_other_tenants: bool = Field(
        default=False,
        description="Whether statuses name no plan of another namespace.",
    )
    node_selector: Json[dict[str, str]] = Field(
        default={}, description="Labels that nodes for plans must carry, as JSON."
    )
    exclude_nodes: Json[dict[str, str]] = Field(
        default={},
        description="Labels that keep plans off a node, as JSON; an empty value: any.",
    )
    lease: str = Field(
        default="",
        description="Lease by which one of several replicas leads; empty: run alone.",
    )
    identity: str = Field(
        default="", description="Name of this replica in the Lease; empty: its host name."
    )
    namespaces: str = Field(
        default="",
        description="Namespaces whose plans are answered, as patterns with commas between; "
        "empty: all.",
    )
    prometheus_url: str = Field(
        default="",
        pattern="^(https?://.+)?$",
        description="Prometheus with the metrics of the plans' pods; empty: nothing is compared.",
    )
    observe_s: float = Field(
        default=60, ge=1, description="Seconds between comparisons of prediction and pods."
    )
    window_s: float = Field(default=600, ge=5, description="Seconds over which pods are observed.")
    drift_s: float = Field(
        default=900,
        ge=0,
        description="Seconds outside the predicted band after which a plan drifts.",
    )
    learn: bool = Field(
        default=True, description="Whether predictions are corrected by what pods did."
    )
    learn_by_namespace: bool = Field(
        default=False,
        description="Whether corrections hold for the namespace alone whose pods taught them.",
    )
    namespace: str = Field(
        default="guide-system",
        description="Namespace of the Lease and of ConfigMap guide-corrections.",
    )

    def node_bounds(self) -> NodeBounds:
        """What holds for the nodes of all plans."""
        return NodeBounds(
            selector=tuple(sorted(self.node_selector.items())),
            excluded=tuple(sorted(self.exclude_nodes.items())),
            tolerations=tuple(each.to_domain() for each in self.tolerations),
        )

    def longest_s(self) -> float:
        """Seconds after which a part without progress is stuck: a question may wait for a core."""
        return max(self.stuck_s, 3 * self.longest_question_s)

    def answers(self, namespace: str) -> bool:
        """Whether plans of `namespace` are for this operator."""
        patterns = [part.strip() for part in self.namespaces.split(",") if part.strip()]
        return not patterns or any(fnmatchcase(namespace, pattern) for pattern in patterns)


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Settings from GUIDE_* variables; `SpecError` with one sentence for a wrong value.

    Other variables with that prefix are left alone, since Kubernetes adds some for Services.
    """
    given = {
        name: environment[PREFIX + name.upper()]
        for name in Settings.model_fields
        if PREFIX + name.upper() in environment
    }
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        raise SpecError(f"{name}={first['input']}: {first['msg']}", field=name) from None
