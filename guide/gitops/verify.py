"""Does a rendered folder still hold? Compares what lies there with what the plan asks (pure)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from msgspec.structs import replace

import guide
from guide.domain import Catalog, Evaluation, Inventory, LayoutKey, Reason, Recommendation
from guide.frameworks import what_ifs
from guide.gitops.findings import Finding, Level
from guide.gitops.folder import LOCK, PLAN, digest, plan_document, plan_text
from guide.record import Record
from guide.report.sentences import choice
from guide.search.assess import Assessment
from guide.spec import InferencePlan
from guide.spec.lock import Lock, LockedGroup, LockedInventory, locked_groups

LIVE = "live"  # `as_of` of a price that a node states itself
_SHOWN = 5
_AGAIN = "run `guide render` again and review the change"


class Folder(Record, frozen=True, kw_only=True):
    """A folder as it lies there: texts by name, its lock, and the plan inside."""

    texts: Mapping[str, str]
    lock: Lock
    plan: InferencePlan


def same_engine(lock: Lock, catalog: Catalog) -> bool:
    """Whether this GUIDE with these data would give the very same answer again."""
    return lock.engine.version == guide.__version__ and lock.engine.catalog_digest == catalog.digest


def unpriced(inventory: Inventory) -> Inventory:
    """Without the prices that came from the catalogue of that time."""
    return replace(
        inventory,
        pools=tuple(
            replace(pool, price=pool.price if pool.price and pool.price.as_of == LIVE else None)
            for pool in inventory.pools
        ),
    )


def moved_plan(folder: Folder, asked: InferencePlan) -> list[Finding]:
    """The plan that was asked for is not the one that was rendered."""
    text = plan_text(asked)
    if digest(text) == folder.lock.plan_digest:
        return []
    fields = list(differences(plan_document(asked), plan_document(folder.plan)))
    edited = digest(plan_text(folder.plan)) != folder.lock.plan_digest
    if edited and not fields:
        message, remedy = f"{PLAN} was changed after the manifests were made", _AGAIN
    else:
        message = "the plan differs from the rendered one in " + _listed(fields)
        remedy = _AGAIN if not edited else f"undo the change of {PLAN}, or {_AGAIN}"
    return [Finding(level=Level.ERROR, rule="PlanMoved", message=message, remedy=remedy, file=PLAN)]


def what_if(plan: InferencePlan, groups: Iterable[LockedGroup]) -> list[Finding]:
    """The limits in the folder rest on a switch that no server has; older versions wrote them."""
    switches = plan.spec.optimizations.to_domain()
    return [
        Finding(level=Level.ERROR, rule="WhatIf", message=why, remedy=_AGAIN, file=PLAN)
        for why in what_ifs((group.framework for group in groups), switches)
    ]


def edited_files(folder: Folder, wanted: Mapping[str, str] | None) -> Iterator[Finding]:
    """Files that are gone or not as they were written; `wanted` is a fresh rendering, if one can
    be made with the same engine and data.
    """
    for name, stated in sorted(folder.lock.files.items()):
        text = folder.texts.get(name)
        if text is None:
            yield Finding(
                level=Level.ERROR,
                rule="FileMissing",
                message=f"{name} is gone",
                remedy="restore it, or " + _AGAIN,
                file=name,
            )
            continue
        fresh = None if wanted is None else wanted.get(name)
        if digest(text) != stated:
            line, what = _first_change(text, fresh)
            yield Finding(
                level=Level.ERROR,
                rule="FileEdited",
                message=f"{name} was changed by hand{what}",
                remedy="put the change into the plan or into a kustomize overlay, and render again",
                file=name,
                line=line,
            )
        elif wanted is not None and fresh != text:
            yield Finding(
                level=Level.ERROR,
                rule="NotReproducible",
                message=f"{name} agrees with {LOCK}, but not with a fresh rendering of {PLAN}",
                remedy=_AGAIN,
                file=name,
                line=_first_change(text, fresh)[0],
            )


def changed_engine(folder: Folder, catalog: Catalog) -> list[Finding]:
    """The review rests on another catalogue or another GUIDE."""
    if same_engine(folder.lock, catalog):
        return []
    engine = folder.lock.engine
    if engine.catalog_digest != catalog.digest:
        message = (
            f"the review was made with catalogue {_short(engine.catalog_digest)}, and this one is "
            f"{_short(catalog.digest)} (facts, fits and prices)"
        )
    else:
        message = f"the review was made by GUIDE {engine.version}, and this is {guide.__version__}"
    return [
        Finding(
            level=Level.ERROR,
            rule="CatalogChanged",
            message=message,
            remedy=_AGAIN + ", or check with the GUIDE of the review",
            file=LOCK,
        )
    ]


def changed_inventory(folder: Folder, found: Inventory) -> list[Finding]:
    """The cluster is not the one of the review: a remark, since the deployment may still hold."""
    before = {pool.name: pool for pool in folder.lock.inventory.pools}
    now = {pool.name: pool for pool in LockedInventory.of(found).pools}
    told = [f"pool {name} is gone" for name in sorted(before.keys() - now.keys())]
    told += [f"pool {name} is new" for name in sorted(now.keys() - before.keys())]
    for name in sorted(before.keys() & now.keys()):
        old, new = _free(before[name].free_gpus), _free(now[name].free_gpus)
        if old != new:
            told.append(f"pool {name} has {new} free GPUs instead of {old}")
        elif before[name] != now[name]:
            told.append(f"pool {name} changed")
    if not told:
        return []
    return [
        Finding(
            level=Level.NOTE,
            rule="InventoryChanged",
            message="since the review: " + _listed(told),
            remedy="nothing, as long as no error stands beside this",
            file=LOCK,
        )
    ]


def standing(
    folder: Folder, plan: InferencePlan, assessed: Assessment | None, answer: Recommendation
) -> list[Finding]:
    """Whether the deployment keeps every limit of `plan` today, and whether another serves it
    better.
    """
    groups = folder.lock.deployment
    pools = {pool.name for pool in answer.inventory.pools}
    if assessed is None or assessed.broken is not None:
        gone = sorted({group.pool for group in groups} - pools)
        if gone:
            why = f"InventoryChanged: pool {', '.join(gone)} is gone"
        elif assessed is None or assessed.broken is None:
            why = _refusal({group.key for group in groups}, answer)
        else:
            why = f"{assessed.broken.reason.value}: {assessed.broken.detail}"
        return [
            Finding(
                level=Level.ERROR,
                rule="LimitBroken",
                message=f"{plan.metadata.name} no longer holds, {why}",
                remedy=_instead(answer),
                file="REVIEW.md",
            )
        ]
    best = answer.best
    if best is None or _layouts(locked_groups(best)) == _layouts(groups):
        return []
    return [
        Finding(
            level=Level.WARNING,
            rule="BetterPlan",
            message="the deployment holds, but would no longer be chosen: "
            + choice(best).rstrip("."),
            remedy=_AGAIN + " if the gain is worth it",
            file="REVIEW.md",
        )
    ]


def _refusal(wanted: set[LayoutKey], answer: Recommendation) -> str:
    """Why a layout is no candidate any more, in the words of the search."""
    for item in answer.rejections:
        groups = item.candidate.groups if item.candidate else ()
        if item.reason is not Reason.DOMINATED and any(group.key in wanted for group in groups):
            return f"{item.reason.value}: {item.detail}"
    return "the plan no longer allows this layout"


def differences(left: Any, right: Any, path: str = "") -> Iterator[str]:
    """Paths at which two parsed documents differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        a, b = cast("dict[str, Any]", left), cast("dict[str, Any]", right)
        for key in sorted(a.keys() | b.keys()):
            below = f"{path}.{key}".removeprefix(".")
            if key not in a or key not in b:
                yield below
            else:
                yield from differences(a[key], b[key], below)
    elif isinstance(left, list) and isinstance(right, list):
        x, y = cast("list[Any]", left), cast("list[Any]", right)
        if len(x) != len(y):
            yield path
        else:
            for index, (one, other) in enumerate(zip(x, y, strict=True)):
                yield from differences(one, other, f"{path}[{index}]")
    elif left != right:
        yield path


def _first_change(text: str, fresh: str | None) -> tuple[int | None, str]:
    """The first line that differs, and both texts of it."""
    if fresh is None:
        return None, ""
    ours, theirs = text.splitlines(), fresh.splitlines()
    matcher = difflib.SequenceMatcher(None, theirs, ours, autojunk=False)
    for tag, i, _, j, _ in matcher.get_opcodes():
        if tag == "equal":
            continue
        was = theirs[i].strip() if i < len(theirs) and tag != "insert" else "nothing"
        now = ours[j].strip() if j < len(ours) and tag != "delete" else "nothing"
        return min(j + 1, max(1, len(ours))), f": {now!r} where {was!r} was rendered"
    return None, ""


def _instead(answer: Recommendation) -> str:
    if answer.best is not None:
        return f"{_AGAIN}: {choice(answer.best).rstrip('.')}"
    return "nothing in this cluster serves the plan: see `guide plan` for what would make it fit"


def _free(by_node: Mapping[int, int]) -> int:
    return sum(gpus * nodes for gpus, nodes in by_node.items())


def _short(text: str) -> str:
    return text[: len("sha256:") + 12]


def _layouts(groups: Iterable[LockedGroup]) -> list[tuple[LayoutKey, int, float]]:
    return [group.layout for group in groups]


def _listed(items: Iterable[str]) -> str:
    every = list(items)
    shown = ", ".join(every[:_SHOWN])
    return shown if len(every) <= _SHOWN else f"{shown} and {len(every) - _SHOWN} more"


def choice_change(lock: Lock, best: Evaluation) -> list[str]:
    """The deployment before and after, in a sentence each."""
    now = locked_groups(best)
    if _layouts(now) == _layouts(lock.deployment):
        return ["The deployment stays the same: " + choice(best)]
    before = " and ".join(
        f"{g.replicas} x {g.framework} {' '.join(g.key.degrees)} {g.precision} of "
        f"{g.checkpoint} on {g.pool}"
        for g in lock.deployment
    )
    return [f"Was: {before}.", f"Now: {choice(best)}"]
