"""GUIDE as a KRM function: a ResourceList in, the list with the manifests of its plans out (pure).

https://github.com/kubernetes-sigs/kustomize/blob/master/cmd/config/docs/api-conventions/functions-spec.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from guide.cluster.json_values import mapping, sequence
from guide.domain import Catalog, Inventory
from guide.errors import GuideError, SpecError, shown
from guide.manifests.names import MANAGED_BY, PLAN_LABEL, object_name
from guide.manifests.render import build_objects
from guide.question import Cluster, ask, inventory_of
from guide.report.sentences import outcome
from guide.spec import KIND, InferencePlan, parse_plan
from guide.spec.checkpoint_files import with_files_beside
from guide.spec.lock import LOCK_KIND, Lock, read_lock

Object = dict[str, Any]

API_VERSION, LIST_KIND = "config.kubernetes.io/v1", "ResourceList"
_PATHS = ("config.kubernetes.io/path", "internal.config.kubernetes.io/path")
_OWN_ANNOTATIONS = ("config.kubernetes.io/", "internal.config.kubernetes.io/")
_GROUPS = {
    **dict.fromkeys(("Node", "Pod", "ConfigMap"), "v1"),
    **dict.fromkeys(("ResourceSlice", "ResourceClaim"), "resource.k8s.io/v1"),
}


def run(value: Mapping[str, Any], catalog: Catalog, cluster: Cluster) -> tuple[Object, bool]:
    """The list with the objects of every plan in it, and whether all went well.

    Plans are the functionConfig when it is one, else the items of that kind. Each part of the
    cluster is that of `cluster`, else the items of its kinds; without nodes it is the inventory of
    a Lock item. Objects of an
    earlier run are replaced, everything else is left alone.
    """
    if value.get("kind") != LIST_KIND:
        raise SpecError(
            f"stdin holds kind {shown(value.get('kind'))}, but a KRM function reads a {LIST_KIND}: "
            "is `guide fn` called by kustomize or kpt?"
        )
    items = [mapping(item) for item in sequence(value.get("items"))]
    config = mapping(value.get("functionConfig"))
    results: list[Object] = []
    plans = [config] if config.get("kind") == KIND else _of_kind(items, KIND)
    if not plans:
        results.append(_result("error", f"no {KIND}: give one as functionConfig or as an item"))
    for plan in plans:
        try:
            items = _with_manifests(plan, items, catalog, cluster, results)
        except GuideError as error:
            results.append(_result("error", str(error), plan))
    answer: Object = {"apiVersion": API_VERSION, "kind": LIST_KIND, "items": items}
    if config:
        answer["functionConfig"] = config
    answer["results"] = results
    return answer, all(result["severity"] != "error" for result in results)


def _with_manifests(
    written: Object,
    items: list[Object],
    catalog: Catalog,
    cluster: Cluster,
    results: list[Object],
) -> list[Object]:
    plan = parse_plan(_clean(written))
    locks = [read_lock(_clean(item)) for item in _of_kind(items, LOCK_KIND)]
    inventory = _inventory(plan, items, locks, catalog, cluster)
    found = ask(plan, inventory, catalog, _model_config(plan, items, locks)).answer()
    if found.best is None:
        raise SpecError(f"{plan.metadata.name}: {outcome(found)} `guide plan` prints every reason.")
    path = _path(written)
    made = [_at(value, f"{path}{name}") for name, value in build_objects(plan, found.best)]
    results.append(_result("info", outcome(found), written))
    return [item for item in items if not _made_for(item, plan)] + made


def _inventory(
    plan: InferencePlan,
    items: list[Object],
    locks: list[Lock],
    catalog: Catalog,
    cluster: Cluster,
) -> Inventory:
    nodes = cluster.nodes or _of_kind(items, "Node")
    if nodes:
        pods = cluster.pods or _of_kind(items, "Pod")
        kinds = ("ResourceSlice", "ResourceClaim")
        devices = cluster.devices or [one for kind in kinds for one in _of_kind(items, kind)]
        found = replace(cluster, nodes=nodes, pods=pods, devices=devices)
        return inventory_of(plan, found, catalog)
    if len(locks) == 1:
        return locks[0].inventory.to_domain(catalog)
    raise SpecError(
        "no cluster to plan for: give `guide fn --nodes FILE`, or put the Node objects or one "
        "guide.lock.yaml among the resources"
    )


def _model_config(plan: InferencePlan, items: list[Object], locks: list[Lock]) -> str | None:
    """The config.json that the plan names, from a ConfigMap among the items or from the lock."""
    source = plan.spec.model.config_from
    if source is not None:
        reference = source.config_map_key_ref
        for item in _of_kind(items, "ConfigMap"):
            metadata = mapping(item.get("metadata"))
            data = mapping(item.get("data"))
            text = data.get(reference.key)
            if metadata.get("name") == reference.name and isinstance(text, str):
                return with_files_beside(reference.key, text, data.get)
    return locks[0].model if len(locks) == 1 else None


def _of_kind(items: Sequence[Object], kind: str) -> list[Object]:
    wanted = _GROUPS.get(kind, "guide.dev/v1alpha1")
    return [i for i in items if i.get("kind") == kind and i.get("apiVersion") == wanted]


def _made_for(item: Object, plan: InferencePlan) -> bool:
    labels = mapping(mapping(item.get("metadata")).get("labels"))
    return labels.get("app.kubernetes.io/managed-by") == MANAGED_BY and labels.get(
        PLAN_LABEL
    ) == object_name(plan.metadata.name)


def _clean(value: Object) -> Object:
    """Without what kustomize and kpt note on every object; a Lock has no metadata at all."""
    metadata = dict(mapping(value.get("metadata")))
    kept = {
        key: text
        for key, text in mapping(metadata.get("annotations")).items()
        if not key.startswith(_OWN_ANNOTATIONS)
    }
    metadata.pop("annotations", None)
    if kept:
        metadata["annotations"] = kept
    rest = {key: each for key, each in value.items() if key != "metadata"}
    return {**rest, "metadata": metadata} if metadata else rest


def _path(written: Object) -> str:
    """The folder of the plan inside the package."""
    notes = mapping(mapping(written.get("metadata")).get("annotations"))
    path = next((str(notes[key]) for key in _PATHS if key in notes), "")
    return path.rpartition("/")[0] + "/" if "/" in path else ""


def _at(value: Object, path: str) -> Object:
    metadata = dict(mapping(value.get("metadata")))
    notes = {**mapping(metadata.get("annotations")), **dict.fromkeys(_PATHS, path)}
    return {**value, "metadata": {**metadata, "annotations": notes}}


def _result(severity: str, message: str, about: Object | None = None) -> Object:
    found: Object = {"message": message, "severity": severity}
    if about is not None:
        metadata = mapping(about.get("metadata"))
        reference = {
            "apiVersion": about.get("apiVersion"),
            "kind": about.get("kind"),
            "name": metadata.get("name"),
            "namespace": metadata.get("namespace"),
        }
        found["resourceRef"] = {key: text for key, text in reference.items() if text}
    return found
