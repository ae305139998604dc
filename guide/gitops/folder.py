"""A rendered folder as texts: the manifests, and beside them what they were made from (pure).

`plan.yaml` and `guide.lock.yaml` are listed in no kustomization and are in no ConfigMap: they serve
`guide check` and `guide diff`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

import guide
from guide.domain import Catalog, Inventory, Recommendation
from guide.manifests.autoscaling import NONE
from guide.manifests.benchmark import benchmarks
from guide.manifests.render import DEFAULT_FORMAT, render_files
from guide.spec import InferencePlan, write_document
from guide.spec.lock import Lock, LockedEngine, LockedInventory, locked_groups

PLAN, LOCK = "plan.yaml", "guide.lock.yaml"
_HEAD = "# Written by `guide render` for `guide check`: change the plan instead and render.\n"


def folder_files(
    plan: InferencePlan,
    answer: Recommendation,
    catalog: Catalog,
    inventory: Inventory,
    *,
    form: str = DEFAULT_FORMAT,
    model_config: str | None = None,
    benchmark: bool = False,
    autoscaling: str = NONE,
) -> dict[str, str]:
    """File name -> text of a whole folder; of a plan without a feasible answer, REVIEW.md alone.

    `inventory` is the cluster as it was read, `model_config` the config.json that was given;
    `benchmark` adds Jobs that measure the deployment, `autoscaling` what scales it.
    """
    files = render_files(plan, answer, form=form, autoscaling=autoscaling)
    if answer.best is None:
        return files
    if benchmark:
        files |= {n: write_document(v) for n, v in benchmarks(plan, answer.best, form)}
    text = plan_text(plan)
    lock = Lock(
        api_version="guide.dev/v1alpha1",
        kind="Lock",
        format=form,
        engine=LockedEngine(
            version=guide.__version__,
            catalog_digest=answer.catalog_digest,
            framework_versions=dict(answer.framework_versions),
            seed=answer.seed,
        ),
        plan_digest=digest(text),
        files={name: digest(files[name]) for name in sorted(files)},
        deployment=locked_groups(answer.best),
        inventory=LockedInventory.of(inventory),
        model=model_config,
        benchmark=benchmark,
        autoscaling=autoscaling,
    )
    return {**files, PLAN: text, LOCK: _HEAD + write_document(lock.document())}


def plan_text(plan: InferencePlan) -> str:
    """The plan as its user wrote it, in one canonical layout."""
    return write_document(plan_document(plan))


def plan_document(plan: InferencePlan) -> dict[str, Any]:
    """The plan as a mapping of what its user set; whole quantities as numbers, as people write."""
    return _plain(plan.model_dump(by_alias=True, exclude_unset=True))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else str(value)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in cast("list[Any]", value)]
    return value


def digest(text: str) -> str:
    """The digest of a file."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def stale_files(before: Lock, files: Mapping[str, str]) -> list[str]:
    """Files of an earlier rendering that the new one no longer has."""
    return sorted(set(before.files) - set(files))
