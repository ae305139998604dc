"""One replica group as a Deployment, with every default of the API written out (pure).

A server-side apply of such an object shows no drift, and neither does a review that compares it
with the cluster.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

from guide.domain import GroupEvaluation, ReplicaGroup
from guide.frameworks import EnvVar, Launch
from guide.frameworks.base import HUGGING_FACE_HOME, Probe, Proxy
from guide.manifests import hardening, rollout, wishes
from guide.manifests.claims import claim_name
from guide.manifests.names import GROUP_LABEL, instance_labels, labels, object_name
from guide.spec import InferencePlan
from guide.units import GIB, MIB

# Slow on purpose: a network volume or a download. Too short a startup probe restarts a pod that is
# loading.
_READ_BYTES_PER_S = 200e6
_ENGINE_START_S = 300  # imports, CUDA graphs, kernel compilation
_IMAGE_PULL_S = 900
_PROBE_PERIOD_S = 10

Object = dict[str, Any]


def deployment(
    plan: InferencePlan, index: int, group: GroupEvaluation, launch: Launch, *, surge: bool
) -> Object:
    """The Deployment of one replica group; `surge` where its pool has GPUs for one more replica."""
    template = pod_template(plan, index, group, launch)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": workload_meta(plan, index, group),
        "spec": {
            "progressDeadlineSeconds": start_seconds(group) + _IMAGE_PULL_S,
            "replicas": group.group.replicas,
            "revisionHistoryLimit": 10,
            # Immutable, so nothing here that another recommendation could change.
            "selector": {"matchLabels": selector(plan.metadata.name, index)},
            "strategy": rollout.rolling(surge=surge),
            "template": template,
        },
    }


def workload_meta(plan: InferencePlan, index: int, group: GroupEvaluation) -> Object:
    """Name, namespace and labels of the workload of one replica group."""
    marks = {"guide.dev/capacity": "potential"} if group.group.pool.potential else {}
    return {
        "name": object_name(plan.metadata.name, str(index)),
        "namespace": plan.metadata.namespace,
        "labels": _pod_labels(plan, index, group),
        **({"annotations": marks} if marks else {}),
    }


def pod_template(plan: InferencePlan, index: int, group: GroupEvaluation, launch: Launch) -> Object:
    """Metadata and specification of the pods of one replica group that serves."""
    template = replica_template(plan, index, group, launch)
    drain_s = rollout.drain_seconds(group.report.e2e.p99_s)
    containers = template["spec"]["containers"]
    serving = {
        "containers": [{**one, "lifecycle": rollout.lifecycle(drain_s)} for one in containers],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": rollout.grace_seconds(drain_s),
        "topologySpreadConstraints": wishes.spread(
            plan.spec.deployment.topology_spread,
            rollout.spread(selector(plan.metadata.name, index)),
        ),
    }
    return {**template, "spec": {**template["spec"], **serving}}


def replica_template(
    plan: InferencePlan, index: int, group: GroupEvaluation, launch: Launch
) -> Object:
    """What the pods of a replica group are, whether they serve or work through a batch."""
    pod_labels = _pod_labels(plan, index, group)
    template = {
        "metadata": {"labels": pod_labels, **_annotations(plan, launch)},
        "spec": _pod(plan, index, group, launch),
    }
    return wishes.with_wishes(template, plan)


def _pod_labels(plan: InferencePlan, index: int, group: GroupEvaluation) -> dict[str, str]:
    return {**labels(plan.metadata.name, group.group.framework), GROUP_LABEL: str(index)}


def selector(plan: str, index: int) -> dict[str, str]:
    """Labels that select the pods of one replica group."""
    return {**instance_labels(plan), GROUP_LABEL: str(index)}


def files_name(plan: str, index: int) -> str:
    """The ConfigMap with the files of one replica group."""
    return object_name(plan, f"{index}-files")


def start_seconds(group: GroupEvaluation) -> int:
    """How long a replica may take to start: its weights over a slow disk, and the engine."""
    weight_bytes = group.memory.weight_bytes * group.group.gpus_per_replica
    return 60 * math.ceil((_ENGINE_START_S + weight_bytes / _READ_BYTES_PER_S) / 60)


def _annotations(plan: InferencePlan, launch: Launch) -> dict[str, dict[str, str]]:
    found: dict[str, str] = {}
    if plan.spec.output.monitoring == "Annotations" and launch.metrics_path:
        found["prometheus.io/path"] = launch.metrics_path
        found["prometheus.io/port"] = str(launch.port)
        found["prometheus.io/scrape"] = "true"
    if launch.files:  # a changed file must restart the pods
        text = "\0".join(part for file in launch.files for part in file)
        found["guide.dev/files-sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return {"annotations": found} if found else {}


def _pod(plan: InferencePlan, index: int, evaluation: GroupEvaluation, launch: Launch) -> Object:
    group, pool = evaluation.group, evaluation.group.pool
    containers = [
        _container(group, launch, start_seconds(evaluation)),
        *([_proxy(launch, launch.proxy)] if launch.proxy else []),
    ]
    optional: Object = {
        "nodeSelector": {**plan.spec.placement.node_selector, **dict(pool.node_selector)},
        "tolerations": [dict(t) for t in pool.tolerations],
    }
    if pool.device_class:
        claim = claim_name(plan, index, group)
        optional["resourceClaims"] = [{"name": "gpus", "resourceClaimTemplateName": claim}]
    return {
        "automountServiceAccountToken": False,
        "containers": containers,
        "dnsPolicy": "ClusterFirst",
        # A Service of the name of a framework sets its variables, such as VLLM_PORT.
        "enableServiceLinks": False,
        "schedulerName": "default-scheduler",
        "securityContext": hardening.pod_security(group.gpu.vendor),
        "volumes": _volumes(plan, index, launch),
        **{key: value for key, value in optional.items() if value},
    }


def _container(group: ReplicaGroup, launch: Launch, start_s: int) -> Object:
    name, port = ("server", launch.proxy.server_port) if launch.proxy else ("http", launch.port)

    probes: Object = {}
    if launch.health_path is not None:
        tries = math.ceil(start_s / _PROBE_PERIOD_S)
        starts = Probe(launch.health_path, timeout_s=launch.startup_timeout_s, failures=tries)
        for kind, probe in (
            ("startupProbe", starts),
            ("readinessProbe", launch.readiness or Probe(launch.health_path)),
            ("livenessProbe", launch.liveness or Probe(launch.health_path, failures=6)),
        ):
            probes[kind] = _probe(probe, name)
    return {
        "name": "server",
        "image": launch.image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(launch.command),
        **({"args": list(launch.args)} if launch.args else {}),
        "env": [
            {"name": "HF_HOME", "value": HUGGING_FACE_HOME},
            *map(dict, hardening.HOME_ENV),
            *map(env, launch.env),
        ],
        "ports": [{"containerPort": port, "name": name, "protocol": "TCP"}],
        "resources": _resources(group),
        **probes,
        "securityContext": hardening.container_security(),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"mountPath": "/dev/shm", "name": "shm"},
            {"mountPath": HUGGING_FACE_HOME, "name": "models"},
            dict(hardening.SCRATCH_MOUNT),
            *_file_mounts(launch),
        ],
    }


def _proxy(launch: Launch, proxy: Proxy) -> Object:
    """Clients and Prometheus reach it; it reaches the server."""
    return {
        "name": "proxy",
        "image": launch.image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(proxy.command),
        "env": [
            # The server fills it: nothing is fetched.
            {"name": "HF_HOME", "value": HUGGING_FACE_HOME},
            {"name": "HF_HUB_OFFLINE", "value": "1"},
            {"name": "USE_TORCH", "value": "0"},  # of transformers, the tokenizers alone
        ],
        "ports": [{"containerPort": launch.port, "name": "http", "protocol": "TCP"}],
        "resources": {
            "limits": {"memory": "1Gi"},
            "requests": {"cpu": "250m", "memory": "512Mi"},
        },
        "readinessProbe": _probe(Probe(launch.health_path or "/"), "http"),
        "livenessProbe": _probe(Probe(launch.metrics_path or "/", failures=6), "http"),
        "securityContext": hardening.proxy_security(),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"mountPath": HUGGING_FACE_HOME, "name": "models", "readOnly": True},
            *_file_mounts(launch),
        ],
    }


def env(variable: EnvVar) -> Object:
    """An environment variable of a container."""
    if variable.secret is None:
        return {"name": variable.name, "value": variable.value or ""}
    name, key = variable.secret
    return {"name": variable.name, "valueFrom": {"secretKeyRef": {"key": key, "name": name}}}


def _resources(group: ReplicaGroup) -> Object:
    """The GPUs, and what the processes of the host starve without: one, and one a GPU.

    Half a core each, as small GPU nodes have four cores and may hold several replicas; 2 GiB, and
    3 GiB of a worker with its CUDA context and pinned buffers. Weights are read through the page
    cache, which belongs to no request. No limits: idle cores make a start faster, and a limit on
    memory would end a server for what its loader maps.
    """
    gpus = group.gpus_per_replica
    host = {"cpu": _cpus(1 + gpus), "memory": f"{2 + 3 * gpus}Gi"}
    if group.pool.device_class:
        return {"claims": [{"name": "gpus"}], "requests": host}
    devices = {group.pool.resource: str(gpus)}
    return {"limits": devices, "requests": {**host, **devices}}


def _cpus(halves: int) -> str:
    """Half cores as Kubernetes prints them."""
    return str(halves // 2) if halves % 2 == 0 else f"{500 * halves}m"


def _probe(probe: Probe, port: str) -> Object:
    return {
        "failureThreshold": probe.failures,
        "httpGet": {"path": probe.path, "port": port, "scheme": "HTTP"},
        "periodSeconds": probe.period_s,
        "successThreshold": 1,
        "timeoutSeconds": probe.timeout_s,
    }


def _file_mounts(launch: Launch) -> list[Object]:
    return [
        {"mountPath": path, "name": "files", "readOnly": True, "subPath": path.rsplit("/", 1)[-1]}
        for path, _ in launch.files
    ]


def _volumes(plan: InferencePlan, index: int, launch: Launch) -> list[Object]:
    volumes: list[Object] = [
        {"emptyDir": {"medium": "Memory", "sizeLimit": _quantity(launch.shm_bytes)}, "name": "shm"},
        wishes.models_volume(plan),
        {**hardening.SCRATCH_VOLUME},
    ]
    if launch.files:
        config = {"defaultMode": 0o644, "name": files_name(plan.metadata.name, index)}
        volumes.append({"configMap": config, "name": "files"})
    return volumes


def _quantity(count: int) -> str:
    """Bytes as Kubernetes prints them."""
    return f"{count // GIB}Gi" if count % GIB == 0 else f"{math.ceil(count / MIB)}Mi"
