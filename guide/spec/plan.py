"""InferencePlan as users write it: camelCase names with units, checked by pydantic.

These types are the single source of the CRD (``hack/crd.py``): descriptions, bounds and rules
stand here once.
`InferencePlanSpec.to_domain` is the only way from here into the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field, StrictInt, create_model, model_validator

from guide.domain import MixRule, ModelArch, Plan, Preference, Slo, Tolerance
from guide.frameworks import FRAMEWORKS
from guide.frameworks.base import DeploymentOptions
from guide.spec import disaggregation as apart
from guide.spec.edge import Edge, refuse, rule, rules
from guide.spec.pods import PodWishes
from guide.spec.scalars import (
    ConfigKey,
    DnsLabel,
    ExtraArg,
    GpuName,
    Image,
    LabelKey,
    LabelValue,
    ModelName,
    ObjectName,
    seconds_of,
    unique,
)
from guide.spec.tolerations import Toleration
from guide.spec.workload import BudgetSpec, OptimizationsSpec, SloSpec, WorkloadSpec

API_VERSION = "guide.dev/v1alpha1"
KIND = "InferencePlan"
# Written by the API server or by other tools; a plan read back from a cluster carries them.
_SERVER_METADATA = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)


class ConfigMapKey(Edge):
    """A key of a ConfigMap in the namespace of the plan."""

    name: ObjectName = Field(description="Name of the ConfigMap.")
    key: ConfigKey = Field(
        description="Key whose value is the config.json. The keys hf_quant_config.json and "
        "model.safetensors.index.json beside it count too; with one prefix, if it has any."
    )


class ConfigSource(Edge):
    """Where the config.json of the model is kept."""

    config_map_key_ref: ConfigMapKey = Field(description="A key of a ConfigMap.")


if TYPE_CHECKING:
    FrameworkName = str
else:  # the names are data: a framework more is a file and a line in guide.frameworks
    FrameworkName = Literal[tuple(FRAMEWORKS)]


class ModelRef(Edge):
    """The model to serve."""

    name: ModelName = Field(
        description="Hugging Face id, for example meta-llama/Llama-3.1-8B-Instruct. On the command "
        "line also the path of a checkpoint folder or config.json, as seen from the plan's folder."
    )
    config_from: ConfigSource | None = Field(
        default=None,
        description="The model's published config.json, for a model that is not in the catalogue.",
    )


class PlacementSpec(Edge):
    """Limits on the GPU pools that are considered."""

    node_selector: dict[LabelKey, LabelValue] = Field(
        default={}, description="Labels that the nodes must carry.", max_length=32
    )
    gpus: tuple[GpuName, ...] = Field(
        default=(),
        description="GPUs allowed, by catalogue name (see `guide gpus`). Empty: all.",
        max_length=64,
    )
    tolerations: tuple[Toleration, ...] = Field(
        default=(),
        description="Taints of nodes that may be used, as in a pod. Those of the GPU's vendor, "
        "such as nvidia.com/gpu, are tolerated anyway.",
        max_length=16,
    )
    mix: Literal["Auto", "Any", "Never"] = Field(
        default="Auto",
        description="Whether replicas may run on several GPU types. Auto mixes two types where "
        "that is at least 15 % better than the best of one type, or where no single type will do.",
    )


class SecretKey(Edge):
    """A key of a Secret in the namespace of the plan."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: ConfigKey = Field(default="token", description="Key that holds the Hugging Face token.")


MaybeImage: TypeAlias = Image | None
_IMAGES: dict[str, Any] = {
    f"image_of_{framework.name}": (
        MaybeImage,
        Field(default=None, alias=framework.image_field, description=framework.image_about),
    )
    for framework in FRAMEWORKS.values()
}
_Images = create_model("_Images", __base__=PodWishes, **_IMAGES)


class DeploymentSpec(_Images):
    """How the generated Deployments look."""

    min_replicas: Annotated[StrictInt, Field(ge=1, le=1000)] = Field(
        default=1,
        description="Fewest replicas, over all groups, such as 2 so that one may fail. Fewer are "
        "not considered, and the bill counts them all.",
    )
    token_secret_ref: SecretKey | None = Field(
        default=None, description="Hugging Face token for gated models."
    )
    extra_args: tuple[ExtraArg, ...] = Field(
        default=(),
        max_length=32,
        description="More arguments for the servers, one element each, from an allow-list of flags "
        "of each framework that leave the predicted operating point alone.",
    )

    @property
    def images(self) -> dict[str, str]:
        """The images that the plan names, by framework."""
        named = {name: getattr(self, f"image_of_{name}") for name in FRAMEWORKS}
        return {name: image for name, image in named.items() if image is not None}

    def to_domain(self, served_name: str) -> DeploymentOptions:
        """The same for `guide.frameworks`; clients ask for `served_name`."""
        secret = self.token_secret_ref
        return DeploymentOptions(
            served_name=served_name,
            images=self.images,
            token_secret=(secret.name, secret.key) if secret else None,
            extra_args=self.extra_args,
        )


class EndpointPickerSpec(Edge):
    """The Service of an endpoint picker, which is installed apart."""

    name: DnsLabel | None = Field(
        default=None, description="Name of the Service. Absent: that of the InferencePool and -epp."
    )
    port: Annotated[StrictInt, Field(ge=1, le=65535)] = Field(
        default=9002, description="Port of its ext-proc server."
    )


class GatewaySpec(Edge):
    """The Gateway from which requests come, which is made apart."""

    name: DnsLabel = Field(description="Name of the Gateway.")
    namespace: DnsLabel | None = Field(
        default=None, description="Its namespace. Absent: that of the plan."
    )
    endpoint_picker: EndpointPickerSpec = Field(
        default=EndpointPickerSpec(),
        description="Who picks the pod of a request, in `guide render --format inferencepool`.",
    )


class OutputSpec(Edge):
    """What GUIDE does with its recommendation."""

    mode: Literal["Recommend", "Apply"] = Field(
        default="Recommend",
        description="Recommend writes manifests into a ConfigMap; Apply also applies them.",
    )
    monitoring: Literal["None", "Annotations", "PodMonitor"] = Field(
        default="Annotations", description="How Prometheus finds the pods."
    )
    gateway: GatewaySpec | None = Field(
        default=None, description="What the HTTPRoute of the manifests, where they have one, names."
    )


_BATCH = (
    "nobody waits for the single answers of workload.offline: remove slo, or state "
    "workload.offline.completeWithin"
)


_NO_SLO = " && ".join(f"!has(self.slo.{field.alias})" for field in SloSpec.model_fields.values())


_NO_STANDBY = "a batch ends, so workload.offline and deployment.minReplicas exclude each other"
_ENDS = (
    "!has(self.workload.offline) || !has(self.deployment) || !has(self.deployment.minReplicas)"
    " || self.deployment.minReplicas == 1"
)


class InferencePlanSpec(Edge):
    """A model, a workload and limits: the question that GUIDE answers."""

    model_config = rules(
        rule(f"!has(self.workload.offline) || !has(self.slo) || ({_NO_SLO})", _BATCH),
        rule(_ENDS, _NO_STANDBY),
        *apart.RULES,
    )

    model: ModelRef = Field(description="The model to serve.")
    workload: WorkloadSpec = Field(description="The requests to be served.")
    slo: SloSpec = Field(default=SloSpec(), description="Service levels to hold.")
    budget: BudgetSpec = Field(default=BudgetSpec(), description="What may be spent.")
    preference: Literal["Cost", "Latency", "Throughput"] = Field(
        default="Cost", description="What to optimise among the deployments that hold every limit."
    )
    precision_tolerance: Literal["Lossless", "FP8", "INT4"] = Field(
        default="Lossless",
        description="Precision that may be given up. Lossless serves the checkpoint as it is, FP8 "
        "also "
        "quantises online to 8 bit, INT4 also takes a 4-bit checkpoint of the same model.",
    )
    frameworks: Annotated[tuple[FrameworkName, ...], unique] = Field(
        default=tuple(FRAMEWORKS),
        min_length=1,
        max_length=len(FRAMEWORKS),
        description="Inference frameworks to consider.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    optimizations: OptimizationsSpec = Field(
        default=OptimizationsSpec(), description="Switches for what-if questions."
    )
    disaggregation: apart.DisaggregationSpec | None = Field(
        default=None, description="Compare two pools, one for prefill and one for decode."
    )
    placement: PlacementSpec = Field(
        default=PlacementSpec(), description="Limits on the GPU pools considered."
    )
    deployment: DeploymentSpec = Field(
        default=DeploymentSpec(), description="How the Deployments look."
    )
    output: OutputSpec = Field(
        default=OutputSpec(), description="What to do with the recommendation."
    )

    @model_validator(mode="after")
    def _what_suits_a_batch(self) -> InferencePlanSpec:
        if self.workload.offline is not None and self.slo != SloSpec():
            raise refuse(_BATCH)
        if self.workload.offline is not None and self.deployment.min_replicas > 1:
            raise refuse(_NO_STANDBY)
        if self.disaggregation is not None and (
            said := apart.unsuited(self.workload, self.preference)
        ):
            raise refuse(said)
        return self

    def to_domain(self, model: ModelArch) -> Plan:
        """The question in base units; `model` is what `guide.spec.resolve_model` found."""
        return Plan(
            model=model,
            workload=self.workload.to_domain(),
            slo=self.slo_to_domain(),
            budget=self.budget.to_domain(),
            preference=Preference(self.preference),
            tolerance=Tolerance(self.precision_tolerance),
            frameworks=tuple(self.frameworks),
            images=tuple(sorted(self.deployment.images.items())),
            min_replicas=self.deployment.min_replicas,
            disaggregation=self.disaggregation and self.disaggregation.to_domain(),
            unready=tuple(
                name
                for name, framework in FRAMEWORKS.items()
                if not framework.image_vendors and name not in self.deployment.images
            ),
            switches=self.optimizations.to_domain(),
            gpus=self.placement.gpus,
            mix=MixRule(self.placement.mix),
            day=self.workload.day_profile and self.workload.day_profile.to_domain(),
            node_selector=tuple(sorted(self.placement.node_selector.items())),
            tolerations=tuple(each.to_domain() for each in self.placement.tolerations),
        )

    def slo_to_domain(self) -> Slo:
        """Every service level, and the time within which a batch must end."""
        offline = self.workload.offline
        if offline is None or offline.complete_within is None:
            return self.slo.to_domain()
        return Slo(job_s=seconds_of(offline.complete_within))


class Metadata(Edge):
    """The part of an object's metadata that GUIDE reads."""

    name: ObjectName = Field(description="Name of the plan.")
    namespace: ObjectName = Field(default="default", description="Namespace of the plan.")
    labels: dict[str, str] = Field(default={}, description="Labels of the plan.")
    annotations: dict[str, str] = Field(default={}, description="Annotations of the plan.")

    @model_validator(mode="before")
    @classmethod
    def _without_server_fields(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {k: v for k, v in value.items() if k not in _SERVER_METADATA}  # pyright: ignore[reportUnknownVariableType]


class InferencePlan(Edge):
    """An InferencePlan object."""

    api_version: Literal["guide.dev/v1alpha1"] = Field(description="Version of this API.")
    kind: Literal["InferencePlan"] = Field(description="Kind of this object.")
    metadata: Metadata = Field(description="Name, namespace, labels.")
    spec: InferencePlanSpec = Field(description="The question.")

    @model_validator(mode="before")
    @classmethod
    def _without_status(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {k: v for k, v in value.items() if k != "status"}  # pyright: ignore[reportUnknownVariableType]
