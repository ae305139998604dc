"""What a plan asks of its pods beyond what serves the model: names of the cluster, environment,
resources, caches.

Nothing here moves the predicted operating point, and nothing is needed to try GUIDE; a cluster in
production demands most of it.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictInt, model_validator
from pydantic.config import JsonDict

from guide.frameworks import FRAMEWORKS
from guide.spec.edge import Edge, refuse, rule, rules
from guide.spec.scalars import ConfigKey, LabelKey, LabelValue, ObjectName

# Set by GUIDE, or able to change what was predicted.
_PREFIXES = "|".join((*(name.upper() for name in FRAMEWORKS), "CUDA|NVIDIA|ROCR|HIP|LD"))
_OURS = rf"^(HF_HOME|HF_TOKEN|HOME|USER|PYTHONPATH|({_PREFIXES})_.*)$"
_OWN_LABELS = r"^(guide[.]dev|app[.]kubernetes[.]io)/.*$"
_Amount = Annotated[str, Field(max_length=20, pattern=r"^[0-9]+(\.[0-9]+)?(m|[kMGT]i?)?$")]
_Id = Annotated[StrictInt, Field(ge=1, le=2_147_483_647)]
_Address = Annotated[str, Field(max_length=512, pattern=r"^[^\s]*$")]

_ONE_SOURCE = "state one of value, secretKeyRef and configMapKeyRef"
_RESERVED = "GUIDE sets this variable, or it would change what was predicted: take another name"
_ONE_CACHE = "state one of claimName, ephemeral and hostPath"
_UPWARDS = "hostPath goes no level up: write it without .."
_OWN = "labels of guide.dev and app.kubernetes.io are GUIDE's own: take others"


# Wishes that no policy of a cluster hangs on; mode Apply takes these unless its settings say else.
HARMLESS = (
    *("annotations", "env", "imagePullSecrets", "labels", "modelCache.ephemeral", "nodeAffinity"),
    *("proxy", "resources", "topologySpread"),
)


def _one_of(*names: str) -> str:
    return f"[{', '.join(f'has(self.{name})' for name in names)}].filter(x, x).size() == 1"


class KeyOf(Edge):
    """A key of a Secret or ConfigMap in the namespace of the plan."""

    name: ObjectName = Field(description="Name of the object.")
    key: ConfigKey = Field(description="Key whose value is taken.")


class Variable(Edge):
    """An environment variable of the servers."""

    model_config = rules(
        rule(_one_of("value", "secretKeyRef", "configMapKeyRef"), _ONE_SOURCE),
        rule(f"!self.name.matches('{_OURS}')", _RESERVED),
    )

    name: Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = Field(
        description="Name of the variable."
    )
    value: Annotated[str, Field(max_length=4096)] | None = Field(
        default=None, description="Its value."
    )
    secret_key_ref: KeyOf | None = Field(default=None, description="A key of a Secret.")
    config_map_key_ref: KeyOf | None = Field(default=None, description="A key of a ConfigMap.")

    @model_validator(mode="after")
    def _from_one_source(self) -> Variable:
        if [self.value, self.secret_key_ref, self.config_map_key_ref].count(None) != 2:
            raise refuse(_ONE_SOURCE)
        if re.match(_OURS, self.name):
            raise refuse(_RESERVED)
        return self


class Proxies(Edge):
    """How the servers reach the internet."""

    http_proxy: _Address = Field(default="", description="For http addresses.")
    https_proxy: _Address = Field(default="", description="For https addresses, as models are.")
    no_proxy: _Address = Field(
        default="", description="Hosts asked directly, with commas between; localhost always is."
    )


class Amounts(Edge):
    """Resources of the host, as in a container."""

    cpu: _Amount | None = Field(default=None, description="Cores.")
    memory: _Amount | None = Field(default=None, description="Memory.")
    ephemeral_storage: _Amount | None = Field(default=None, description="Disk of the node.")


class HostResources(Edge):
    """Resources of the host for each server; the GPUs follow from the answer."""

    requests: Amounts = Field(default=Amounts(), description="Instead of what GUIDE requests.")
    limits: Amounts = Field(default=Amounts(), description="None by default.")


class PodIds(Edge):
    """As whom the pods run, as in a pod's securityContext; the rest of it stays restricted."""

    run_as_user: _Id | None = Field(default=None, description="User id.")
    run_as_group: _Id | None = Field(default=None, description="Group id.")
    fs_group: _Id | None = Field(default=None, description="Group that volumes are written as.")
    supplemental_groups: tuple[_Id, ...] = Field(
        default=(), max_length=16, description="More groups, such as those of device files."
    )


class Spread(Edge):
    """Replicas apart, as in a pod's topologySpreadConstraints."""

    topology_key: LabelKey = Field(description="Label of nodes, such as a zone.")
    max_skew: Annotated[StrictInt, Field(ge=1, le=1000)] = Field(
        default=1, description="Largest difference between two values of it."
    )
    when_unsatisfiable: Literal["ScheduleAnyway", "DoNotSchedule"] = Field(
        default="ScheduleAnyway",
        description="DoNotSchedule can keep pods off GPUs that GUIDE counts on.",
    )


class NodePreference(Edge):
    """Nodes that are preferred; those that are demanded belong to placement.nodeSelector, by which
    GUIDE counts GPUs.
    """

    key: LabelKey = Field(description="Label of nodes.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(
        default="In", description="As in a pod's nodeAffinity."
    )
    values: tuple[LabelValue, ...] = Field(default=(), max_length=32, description="Its values.")
    weight: Annotated[StrictInt, Field(ge=1, le=100)] = Field(
        default=1, description="Against other preferences."
    )


class EphemeralCache(Edge):
    """A volume of its own for each pod, which ends with it."""

    size: _Amount = Field(description="Its size; it has to hold the weights.")
    storage_class_name: ObjectName | None = Field(
        default=None, description="Class of the volume; the cluster's default otherwise."
    )


class ModelCache(Edge):
    """Where downloaded weights lie; mounted at the Hugging Face cache."""

    model_config = rules(
        rule(_one_of("claimName", "ephemeral", "hostPath"), _ONE_CACHE),
        rule("!has(self.hostPath) || !self.hostPath.contains('..')", _UPWARDS),
    )

    claim_name: ObjectName | None = Field(
        default=None, description="PersistentVolumeClaim that keeps them between restarts."
    )
    ephemeral: EphemeralCache | None = Field(
        default=None, description="A volume for each pod instead of the disk of its node."
    )
    host_path: (
        Annotated[str, Field(max_length=256, pattern=r"^/[A-Za-z0-9_-][A-Za-z0-9._/-]*$")] | None
    ) = Field(
        default=None,
        description="Folder of the node that keeps them for all pods there. Mode Apply takes it "
        "only where the operator's apply.deploymentFields names it.",
    )

    @model_validator(mode="after")
    def _of_one_kind(self) -> ModelCache:
        if [self.claim_name, self.ephemeral, self.host_path].count(None) != 2:
            raise refuse(_ONE_CACHE)
        if self.host_path and ".." in self.host_path:
            raise refuse(_UPWARDS)
        return self


def _distinct_names(values: tuple[Variable, ...]) -> tuple[Variable, ...]:
    names = [each.name for each in values]
    if len(set(names)) < len(names):
        raise refuse("a variable is listed twice: keep it once")
    return values


def _free_labels(values: dict[str, str]) -> dict[str, str]:
    if any(re.match(_OWN_LABELS, key) for key in values):
        raise refuse(_OWN)
    return values


_NOT_OURS: JsonDict = {
    "x-kubernetes-validations": [
        {"rule": f"self.all(key, !key.matches('{_OWN_LABELS}'))", "message": _OWN}
    ]
}


class PodWishes(Edge):
    """What a plan asks of its pods."""

    model_cache: ModelCache | None = Field(
        default=None, description="Volume for downloaded weights."
    )
    resources: HostResources | None = Field(
        default=None, description="CPU, memory and disk of each server."
    )
    image_pull_secrets: tuple[ObjectName, ...] = Field(
        default=(), max_length=8, description="Secrets for the registry of the images."
    )
    service_account_name: ObjectName | None = Field(
        default=None, description="Account of the pods; its token is not mounted."
    )
    priority_class_name: ObjectName | None = Field(
        default=None, description="Priority of the pods."
    )
    pod_security_context: PodIds | None = Field(
        default=None, description="As whom the pods run instead of user and group 65532."
    )
    env: Annotated[tuple[Variable, ...], AfterValidator(_distinct_names)] = Field(
        default=(),
        max_length=32,
        description="Environment of the servers.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    proxy: Proxies | None = Field(default=None, description="How the internet is reached.")
    topology_spread: tuple[Spread, ...] = Field(
        default=(), max_length=4, description="Replicas apart, besides over nodes."
    )
    node_affinity: tuple[NodePreference, ...] = Field(
        default=(), max_length=8, description="Nodes that are preferred."
    )
    labels: Annotated[dict[LabelKey, LabelValue], AfterValidator(_free_labels)] = Field(
        default={}, max_length=32, description="Of the pods.", json_schema_extra=_NOT_OURS
    )
    annotations: Annotated[
        dict[LabelKey, Annotated[str, Field(max_length=1024)]], AfterValidator(_free_labels)
    ] = Field(default={}, max_length=32, description="Of the pods.", json_schema_extra=_NOT_OURS)

    def wishes(self) -> tuple[str, ...]:
        """The fields that a platform team may allow or not, of those that are set."""
        fields = PodWishes.model_fields
        names = [fields[name].alias or name for name in fields if name in self.model_fields_set]
        cache = self.model_cache
        kind = "hostPath" if cache and cache.host_path else "ephemeral"
        persistent = cache is None or cache.claim_name is not None
        names = [name for name in names if name != "modelCache"]
        return tuple(names if persistent else [f"modelCache.{kind}", *names])
