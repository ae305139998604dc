"""What a plan asks of its pods, put into a pod of GUIDE's (pure)."""

from __future__ import annotations

from typing import Any

from guide.spec import InferencePlan
from guide.spec.pods import Amounts, KeyOf, NodePreference, PodWishes, Proxies, Spread

Object = dict[str, Any]

_DIRECT = "localhost,127.0.0.1"  # probes, and processes of one server among themselves


def with_wishes(template: Object, plan: InferencePlan) -> Object:
    """A pod template with the wishes of `plan`; without any it stays what it is."""
    asked = plan.spec.deployment
    metadata, pod = template["metadata"], template["spec"]
    security = {**pod["securityContext"], **_ids(asked)}
    more: Object = {
        "affinity": _affinity(asked.node_affinity),
        "imagePullSecrets": [{"name": name} for name in asked.image_pull_secrets],
        "priorityClassName": asked.priority_class_name,
        # The API server writes the first wherever it reads the second.
        "serviceAccount": asked.service_account_name,
        "serviceAccountName": asked.service_account_name,
    }
    labels = {**asked.labels, **metadata["labels"]}
    annotations = {**asked.annotations, **metadata.get("annotations", {})}
    return {
        "metadata": {
            **metadata,
            "labels": labels,
            **({"annotations": annotations} if annotations else {}),
        },
        "spec": {
            **pod,
            "containers": [_server(one, asked) for one in pod["containers"]],
            "securityContext": security,
            **{key: value for key, value in more.items() if value},
        },
    }


def _server(container: Object, asked: PodWishes) -> Object:
    """The container of the server; others are GUIDE's own and stay."""
    if container["name"] != "server":
        return container
    variables = [*_proxies(asked.proxy), *map(_variable, asked.env)]
    return {
        **container,
        "env": [*container["env"], *variables],
        "resources": _resources(container["resources"], asked),
    }


def _resources(given: Object, asked: PodWishes) -> Object:
    if asked.resources is None:
        return given
    limits = _amounts(asked.resources.limits)
    disk = {
        k: v for k, v in limits.items() if k == "ephemeral-storage"
    }  # else the API server would
    requests = {**given.get("requests", {}), **disk, **_amounts(asked.resources.requests)}
    limits = {**given.get("limits", {}), **limits}
    return {**given, **({"limits": limits} if limits else {}), "requests": requests}


def _amounts(asked: Amounts) -> dict[str, str]:
    named = {
        "cpu": asked.cpu,
        "memory": asked.memory,
        "ephemeral-storage": asked.ephemeral_storage,
    }
    return {name: amount for name, amount in named.items() if amount is not None}


def _variable(one: Any) -> Object:
    if one.value is not None:
        return {"name": one.name, **({"value": one.value} if one.value else {})}
    kind = "configMapKeyRef" if one.secret_key_ref is None else "secretKeyRef"
    source: KeyOf = one.secret_key_ref or one.config_map_key_ref
    return {"name": one.name, "valueFrom": {kind: {"key": source.key, "name": source.name}}}


def _proxies(asked: Proxies | None) -> list[Object]:
    """In capitals and small letters: programs do not agree."""
    if asked is None:
        return []
    direct = ",".join(part for part in (_DIRECT, asked.no_proxy) if part)
    named = {
        "HTTP_PROXY": asked.http_proxy,
        "HTTPS_PROXY": asked.https_proxy,
        "NO_PROXY": direct,
    }
    return [
        {"name": name, "value": value}
        for upper, value in named.items()
        if value
        for name in (upper, upper.lower())
    ]


def _ids(asked: PodWishes) -> Object:
    ids = asked.pod_security_context
    if ids is None:
        return {}
    found: Object = {
        "fsGroup": ids.fs_group,
        "runAsGroup": ids.run_as_group,
        "runAsUser": ids.run_as_user,
        "supplementalGroups": list(ids.supplemental_groups) or None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _affinity(asked: tuple[NodePreference, ...]) -> Object:
    if not asked:
        return {}
    preferred = [
        {
            "preference": {
                "matchExpressions": [
                    {
                        "key": one.key,
                        "operator": one.operator,
                        **({"values": list(one.values)} if one.values else {}),
                    }
                ]
            },
            "weight": one.weight,
        }
        for one in asked
    ]
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def spread(asked: tuple[Spread, ...], usual: list[Object]) -> list[Object]:
    """`usual` constraints of replicas and those that the plan asks for, which come before."""
    (pattern,) = usual
    wanted = {
        (one.topology_key, one.when_unsatisfiable): {
            **pattern,
            "maxSkew": one.max_skew,
            "topologyKey": one.topology_key,
            "whenUnsatisfiable": one.when_unsatisfiable,
        }
        for one in asked
    }
    return [*({(pattern["topologyKey"], pattern["whenUnsatisfiable"]): pattern} | wanted).values()]


def models_volume(plan: InferencePlan) -> Object:
    """What the plan names for downloaded weights, or a folder that ends with its pod."""
    cache = plan.spec.deployment.model_cache
    if cache is None:
        return {"emptyDir": {}, "name": "models"}
    if cache.claim_name:
        return {"name": "models", "persistentVolumeClaim": {"claimName": cache.claim_name}}
    if cache.host_path:
        folder = {"path": cache.host_path, "type": "DirectoryOrCreate"}
        return {"hostPath": folder, "name": "models"}
    assert cache.ephemeral is not None
    storage = cache.ephemeral.storage_class_name
    spec: Object = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": cache.ephemeral.size}},
        "volumeMode": "Filesystem",
        **({"storageClassName": storage} if storage else {}),
    }
    template: Object = {"metadata": {}, "spec": spec}
    return {"ephemeral": {"volumeClaimTemplate": template}, "name": "models"}
