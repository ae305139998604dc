"""KServe's LLMInferenceService (serving.kserve.io/v1alpha1) from the same data.

KServe routes; GUIDE says how many replicas, on what, and with which arguments. One service a
replica group, since the type holds one pod template. Command and arguments of the pod take the
place of those that KServe writes for vLLM, so any engine runs that serves on its port;
`spec.runtime`, which newer versions have for SGLang, would only choose which are replaced.
https://kserve.github.io/website/docs/reference/crd-api
"""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import Evaluation, GroupEvaluation, ReplicaGroup
from guide.frameworks import Launch
from guide.manifests.claims import claim
from guide.manifests.deployment import Object, pod_template, workload_meta
from guide.manifests.names import object_name
from guide.manifests.objects import Named, launch_options, launched
from guide.spec import InferencePlan

CONTAINER = "main"  # the container that KServe's own template merges with
PORT = 8000  # of every pod: that of KServe's Service and pool, whatever the engine


def llm_inference_service(plan: InferencePlan, evaluation: Evaluation) -> Named:
    """File name and object for everything to be applied, sorted by file name."""
    options = replace(launch_options(plan), port=PORT)
    objects: dict[str, Object] = {}
    for index, group in enumerate(evaluation.groups):
        launch = launched(group.group, options)
        objects[f"llminferenceservice-{index}.yaml"] = _service(plan, index, group, launch)
        if group.group.pool.device_class:
            objects[f"resourceclaimtemplate-{index}.yaml"] = claim(plan, index, group.group)
    return sorted(objects.items())


def _service(plan: InferencePlan, index: int, group: GroupEvaluation, launch: Launch) -> Object:
    template = pod_template(plan, index, group, launch)
    (container,) = template["spec"]["containers"]
    container["name"] = CONTAINER
    metadata = template["metadata"]
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LLMInferenceService",
        "metadata": workload_meta(plan, index, group),
        "spec": {
            **({"annotations": metadata["annotations"]} if "annotations" in metadata else {}),
            "labels": metadata["labels"],
            "model": {"name": plan.spec.model.name, "uri": f"hf://{group.group.model.name}"},
            "parallelism": _parallelism(group.group),
            "replicas": group.group.replicas,
            "rolloutStrategy": {"maxSurge": 0, "maxUnavailable": 1},
            "router": {"gateway": {}, "route": _route(plan, group)},
            # Servers download into their own cache, as in the other formats.
            "storageInitializer": {"enabled": False},
            "template": template["spec"],
        },
    }


def _parallelism(group: ReplicaGroup) -> Object:
    """KServe's own fields; its `data` counts the attention ranks of a replica, all on one node."""
    wide = {"data": group.attention_dp, "dataLocal": group.attention_dp}
    return {
        **(wide if group.attention_dp > 1 else {}),
        **({"expert": True} if group.ep > 1 else {}),
        "pipeline": group.pp,
        "tensor": group.tp,
    }


def _route(plan: InferencePlan, group: GroupEvaluation) -> Object:
    """The share of the load, where several groups take a part of it."""
    if group.group.load_share >= 1:
        return {}
    weight = round(group.group.load_share * 1000)
    return {"group": object_name(plan.metadata.name), "weight": weight}
