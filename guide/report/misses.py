"""Why not something else, for people: reasons in words, useful ones first, each GPU by its best
option (pure).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from guide.domain import Evaluation, Reason, Recommendation, Rejection
from guide.report.reasons import IN_WORDS, no_image, split_unready
from guide.report.status import nearest_misses
from guide.report.table import Table
from guide.report.tables import candidate_name
from guide.units import format_usd

_ORDER = {reason: place for place, reason in enumerate(IN_WORDS)}


def reasons(found: Recommendation) -> Table:
    """Each reason with its count, the candidate that came nearest and by how much it missed; first
    those that another limit, load or budget would mend. What lacks an image is one line.
    """
    ready, folded = split_unready(found)
    nearest: dict[Reason, Rejection] = {}
    for item in nearest_misses(ready):
        nearest.setdefault(item.reason, item)
    counts = Counter(item.reason for item in ready)
    rows = [
        (
            IN_WORDS[reason],
            f"{counts[reason]:,}",
            candidate_name(nearest[reason]),
            nearest[reason].detail,
            margin(nearest[reason]),
        )
        for reason in sorted(counts, key=_ORDER.__getitem__)
    ]
    rows += [
        ("has no image", f"{count:,}", name, no_image(name), "–")
        for name, count in sorted(folded.items())
    ]
    return Table(
        title="Rejected",
        heads=("reason", "count", "nearest miss", "why", "margin"),
        rows=tuple(rows),
        numeric=(1, 4),
    )


def margin(item: Rejection) -> str:
    """How far a candidate missed, or by how much it ranks behind."""
    return f"{item.margin:.0%}" if item.margin else "–"


def each_gpu(found: Recommendation) -> Table:
    """The best option on each type of GPU and what came of it, the recommended one first."""
    kept = _kept(found)
    ready, _ = split_unready(found)
    lost: dict[str, Rejection] = {}
    for item in sorted(ready, key=_usefulness):
        name = _only_gpu(
            () if item.candidate is None else (g.gpu.name for g in item.candidate.groups)
        )
        if name and name not in kept:
            lost.setdefault(name, item)
    rows = [
        (
            name,
            _option(item),
            _usd(item),
            "recommended" if item is found.best else "keeps every limit",
        )
        for name, item in kept.items()
    ]
    rows += [
        (name, candidate_name(item), "–", f"{IN_WORDS[item.reason]}: {item.detail}")
        for name, item in sorted(lost.items(), key=lambda pair: _usefulness(pair[1]))
    ]
    return Table(
        title="Best option of each GPU",
        heads=("GPU", "best option", "USD/h", "outcome"),
        rows=tuple(rows),
        numeric=(2,),
    )


def _usefulness(item: Rejection) -> tuple[bool, int, float]:
    """What keeps every limit comes first, then the nearest miss of what could be mended."""
    return (item.reason is not Reason.DOMINATED, _ORDER[item.reason], item.margin)


def _kept(found: Recommendation) -> dict[str, Evaluation]:
    """The best deployment of each GPU among those that keep every limit and were shown in full."""
    ranked = [one for one in (found.best, *found.alternatives) if one is not None]
    others = sorted(found.pareto, key=lambda one: (one.usd_per_h is None, one.usd_per_h or 0.0))
    kept: dict[str, Evaluation] = {}
    for item in (*ranked, *others):
        name = _only_gpu(g.group.gpu.name for g in item.groups)
        if name:
            kept.setdefault(name, item)
    return kept


def _only_gpu(names: Iterable[str]) -> str:
    """The GPU of a deployment on one type; empty for a mixed fleet."""
    several = set(names)
    return several.pop() if len(several) == 1 else ""


def _option(item: Evaluation) -> str:
    return " + ".join(
        f"{g.group.replicas} x {g.group.framework} {' '.join(g.group.key.degrees)} "
        f"{g.group.precision.name} on {g.group.pool.name}"
        for g in item.groups
    )


def _usd(item: Evaluation) -> str:
    return "unknown" if item.usd_per_h is None else format_usd(item.usd_per_h)
