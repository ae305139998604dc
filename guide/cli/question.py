"""From flags to the engine's question: the plan, the model and the cluster, read from files or a
context.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from guide.answer import Recommendation
from guide.domain import Catalog, Inventory, Plan
from guide.errors import SpecError
from guide.units import MIB

if TYPE_CHECKING:
    from guide.spec import InferencePlan

KubeObject = dict[str, Any]  # as the API server writes it
LIST_LIMIT_BYTES = 1024 * MIB  # pods of ten thousand nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """All that `recommend` needs, and the plan as its user wrote it."""

    written: InferencePlan
    plan: Plan
    config: str | None  # the model's config.json, if one was given
    inventory: Inventory
    catalog: Catalog


def ask(
    plan_file: Path,
    nodes_file: Path | None,
    pods_file: Path | None,
    model_config: Path | None,
    calibration: Path | None = None,
) -> Question:
    """Read everything that the flags name; `SpecError` or `ClusterError` with one sentence if that
    fails.
    """
    from guide.catalog import load
    from guide.spec import load_plan

    catalog = load(calibration=calibration)
    written = load_plan(read_text(plan_file))
    config = None if model_config is None else read_text(model_config)
    return about(written, config, nodes_file, pods_file, catalog)


def about(
    written: InferencePlan,
    config: str | None,
    nodes_file: Path | None,
    pods_file: Path | None,
    catalog: Catalog,
) -> Question:
    """The question of a plan that was read already; `config` is the model's config.json, if given.

    GPUs that the plan's own pods hold count as free: a plan does not compete with itself.
    """
    from guide.kube.inventory import read_inventory
    from guide.kube.names import instance_labels
    from guide.spec import resolve_plan

    plan = resolve_plan(written, catalog, config)
    nodes, pods = _objects(nodes_file, pods_file)
    mine = instance_labels(written.metadata.name).items()

    def own(pod: Mapping[str, Any]) -> bool:
        metadata = _mapping(pod.get("metadata"))
        here = metadata.get("namespace") == written.metadata.namespace
        return here and mine <= _mapping(metadata.get("labels")).items()

    return Question(
        written=written,
        plan=plan,
        config=config,
        inventory=read_inventory(_selected(nodes, plan), pods, catalog, own=own),
        catalog=catalog,
    )


def over_nodes(plan: Plan, form: str) -> Plan:
    """The plan for an output format: only a LeaderWorkerSet can put a replica on several nodes."""
    return replace(plan, over_nodes=form == "leaderworkerset")


def answer(question: Question) -> Recommendation:
    """The recommendation for a question."""
    from guide.cli.progress import shown_when_slow
    from guide.search.recommend import recommend

    with shown_when_slow("planning"):
        return recommend(question.plan, question.inventory, question.catalog)


def _objects(
    nodes_file: Path | None, pods_file: Path | None
) -> tuple[list[KubeObject], list[KubeObject]]:
    if nodes_file is None:
        if pods_file is not None:
            raise SpecError("--pods needs --nodes: without both, the current kube context is read")
        from guide.kube.client import cluster_objects

        return cluster_objects()
    nodes = read_items(nodes_file, "Node")
    return nodes, [] if pods_file is None else read_items(pods_file, "Pod")


def _selected(nodes: list[KubeObject], plan: Plan) -> list[KubeObject]:
    """The nodes that carry every label of spec.placement.nodeSelector."""

    def carries_all(node: KubeObject) -> bool:
        metadata = _mapping(node.get("metadata"))
        labels = _mapping(metadata.get("labels"))
        return all(labels.get(key) == value for key, value in plan.node_selector)

    return [node for node in nodes if carries_all(node)]


def _mapping(value: Any) -> KubeObject:
    return cast("KubeObject", value) if isinstance(value, dict) else {}


def read_items(path: Path, kind: str) -> list[KubeObject]:
    """The objects of `kind` in a file: a List as kubectl writes it, or a single object."""
    import json

    text = read_text(path)
    document: Any
    if text.lstrip().startswith("{"):
        try:
            document = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise SpecError(f"{path} is not valid JSON: {error}") from None
    else:
        from guide.spec import read_document

        document = read_document(text, str(path), LIST_LIMIT_BYTES)
    if not isinstance(document, dict):
        raise SpecError(f"{path} must hold a list of {kind} objects, as kubectl writes it")
    parsed = cast("KubeObject", document)
    listed: Any = parsed.get("items", [parsed])
    if not isinstance(listed, list) or not all(
        isinstance(item, dict) for item in cast("list[Any]", listed)
    ):
        raise SpecError(f"{path}: items must be a list of objects, as kubectl writes it")
    items = cast("list[KubeObject]", listed)
    found = [item for item in items if item.get("kind", kind) == kind]
    if items and not found:
        kinds = ", ".join(sorted({str(item.get("kind")) for item in items}))
        raise SpecError(
            f"{path} holds {kinds} objects, no {kind}: "
            f"give the output of `kubectl get {kind.lower()}s -o yaml`"
        )
    return found


def read_text(path: Path) -> str:
    """The text of a file, or of stdin for ``-``."""
    try:
        if str(path) == "-":
            return sys.stdin.read()
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SpecError(f"{path} is not a UTF-8 text file") from None
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from None
