"""Values for the chart of the vLLM production stack (``vllm-stack``) from the same data.

The chart writes the flags that it knows by name; everything else goes into ``extraArgs``, so that
the whole operating point stands. https://github.com/vllm-project/production-stack/tree/main/helm
"""

from __future__ import annotations

import re
from typing import Any

from guide.domain import Evaluation, GroupEvaluation
from guide.errors import SpecError
from guide.frameworks import Launch
from guide.manifests.deployment import Object, pod_template
from guide.manifests.names import labels, object_name
from guide.manifests.objects import Named, launch_options, launched
from guide.manifests.rollout import rolling
from guide.spec import InferencePlan

# Written by the chart from a value of its own, or by its template.
_BY_NAME = {
    "--gpu-memory-utilization": "gpuMemoryUtilization",
    "--max-model-len": "maxModelLen",
    "--max-num-seqs": "maxNumSeqs",
    "--tensor-parallel-size": "tensorParallelSize",
    "--dtype": "dtype",
}
_BY_TEMPLATE = ("--host", "--port")
_WHOLE = ("maxModelLen", "maxNumSeqs", "tensorParallelSize")
# The chart demands both; these are what it takes itself since 25.12 where they are absent.
_CPUS_PER_GPU, _MEMORY_GIB_PER_GPU = 4, 10


def helm_values(plan: InferencePlan, evaluation: Evaluation) -> Named:
    """The one file ``values.yaml``."""
    options = launch_options(plan)
    if asked := plan.spec.deployment.wishes():
        raise SpecError(
            f"--format helm-values cannot hold spec.deployment.{asked[0]}: set it in the values of "
            "that chart, or take another format"
        )
    shares = {g.group.load_share / g.group.replicas for g in evaluation.groups}
    if max(shares) - min(shares) > 1e-6:
        raise SpecError(
            "--format helm-values cannot hold unequal shares of the load between replicas: the "
            "router of that chart deals requests evenly; take another format"
        )
    models: list[Object] = []
    patience: list[Object] = []
    for index, group in enumerate(evaluation.groups):
        launch = launched(group.group, options)
        _check(group, launch)
        models.append(_model(plan, index, group, launch))
        pod = pod_template(plan, index, group, launch)["spec"]
        patience.append(pod["containers"][0]["startupProbe"])
    slowest = max(patience, key=lambda probe: probe["failureThreshold"])
    tolerations = [dict(t) for g in evaluation.groups for t in g.group.pool.tolerations]
    values: dict[str, Any] = {
        "servingEngineSpec": {
            "containerPort": 8000,
            "imagePullPolicy": "IfNotPresent",
            "labels": labels(plan.metadata.name, evaluation.groups[0].group.framework),
            "modelSpec": models,
            "startupProbe": {
                "failureThreshold": slowest["failureThreshold"],
                "httpGet": {"path": "/health", "port": 8000},
                "initialDelaySeconds": 0,
                "periodSeconds": slowest["periodSeconds"],
            },
            "strategy": rolling(surge=False),
            "tolerations": list({str(t): t for t in tolerations}.values()),
        }
    }
    return [("values.yaml", values)]


def _check(group: GroupEvaluation, launch: Launch) -> None:
    if group.group.pool.device_class:
        raise SpecError(
            f"--format helm-values cannot claim devices (DRA), as pool {group.group.pool.name} "
            "needs: take another format"
        )


def _model(plan: InferencePlan, index: int, group: GroupEvaluation, launch: Launch) -> Object:
    image = re.fullmatch(r"(.+?)(?::([^:/@]+))?(?:@(.+))?", launch.image)
    assert image is not None  # every text matches
    repository, tag, digest = image.groups()
    gpus = group.group.gpus_per_replica
    selector = {**plan.spec.placement.node_selector, **dict(group.group.pool.node_selector)}
    secret = plan.spec.deployment.token_secret_ref
    cache = plan.spec.deployment.model_cache
    model: Object = {
        "modelURL": group.group.model.name,
        "name": object_name(plan.metadata.name, str(index)),
        "nodeSelectorTerms": [
            {
                "matchExpressions": [
                    {"key": key, "operator": "In", "values": [value]}
                    for key, value in sorted(selector.items())
                ]
            }
        ],
        "replicaCount": group.group.replicas,
        "repository": repository,
        "requestCPU": _CPUS_PER_GPU * gpus,
        "requestGPU": gpus,
        "requestGPUType": group.group.pool.resource,
        "requestMemory": f"{_MEMORY_GIB_PER_GPU * gpus}Gi",
        "shmSize": pod_template(plan, index, group, launch)["spec"]["volumes"][0]["emptyDir"][
            "sizeLimit"
        ],
        "tag": (tag or "latest") + (f"@{digest}" if digest else ""),
        "vllmConfig": _config(launch),
    }
    if secret:
        model["hf_token"] = {"secretKey": secret.key, "secretName": secret.name}
    if cache and cache.claim_name:
        claim = {"claimName": cache.claim_name}
        model["extraVolumes"] = [{"name": "models", "persistentVolumeClaim": claim}]
        model["extraVolumeMounts"] = [{"mountPath": "/tmp/hub", "name": "models", "subPath": "hub"}]
    return model


def _config(launch: Launch) -> Object:
    config: Object = {"enablePrefixCaching": True}  # as vLLM does when no flag is given
    extra: list[str] = []
    for arg in launch.args[1:]:  # the first is the model
        flag, _, value = arg.partition("=")
        if flag in _BY_TEMPLATE:
            continue
        name = _BY_NAME.get(flag)
        if name is None:
            extra.append(arg)
        else:
            config[name] = int(value) if name in _WHOLE else value
    config["extraArgs"] = extra
    return config
