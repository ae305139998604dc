"""The tables of docs/accuracy.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from guide.domain import FitTable
from guide.measured.slices import LEFT_OUT, METRIC_NAMES, SLICES, Errors, LeftOut, errors_of
from guide.report.tables import Table
from guide.units import format_seconds
from hack.accuracy.coverage import coverage, fresh_half_widths
from hack.accuracy.ranking import agreement
from hack.accuracy.winners import duels

ALL_ERRORS = ("fitted", *LEFT_OUT)
HEADS = {
    "fitted": "fitted",
    "row": "rows left out",
    "version": "versions left out",
    "model": "models left out",
    "architecture": "architectures left out",
    "gpu": "GPUs left out",
    "generation": "generations left out",
}
LEAST_INSIDE = 80  # % of the values of a slice that its 90 % intervals must hold
WIDEST = 8  # times the mean error allowed: what an interval may span
WORST = 20
KINDS = {
    "static_batch": "static batch",
    "burst": "burst",
    "concurrency": "closed loop",
    "rate": "open loop",
}
KINDS_OF_TAU = (("e2e", "static_batch"), ("tpot", "concurrency"), ("ttft", "concurrency"))


def _pair(errors: Errors) -> str:
    return f"{errors.mean:.1f} / {errors.median:.1f}" if errors.count else "–"


def targets(items: Sequence[LeftOut], shipped: Mapping[str, Errors]) -> Table:
    """The slices and what is asked of them."""
    rows: list[tuple[str, ...]] = []
    for part in SLICES:
        chosen = [item for item in items if part.holds(item)]
        ours = _pair(shipped[part.name]) if part.name in shipped else "–"
        asked = " or ".join(
            dict.fromkeys(f"{mean:g} / {median:g}" for mean, median in (part.rows, part.groups))
        )
        rows.append((part.name, str(len(chosen)), ours, *_cells(chosen), asked))
        sound = [item for item in chosen if not item.exclusion]
        if len(sound) < len(chosen):
            left = "– without values kept out of the fit"
            rows.append((left, str(len(sound)), "", *_cells(sound), ""))
    return Table(
        title="Error by slice: mean / median in %",
        heads=("slice", "values", "shipped", *HEADS.values(), "asked (rows or groups left out)"),
        rows=tuple(rows),
        numeric=tuple(range(1, 3 + len(HEADS))),
    )


def shortfalls(items: Sequence[LeftOut]) -> Table:
    """Where left-out errors or intervals miss what is asked of them, the worst first."""
    widths = {left_out: fresh_half_widths(items, left_out) for left_out in LEFT_OUT}
    rows: list[tuple[float, tuple[str, ...]]] = []
    for part in SLICES:
        chosen = [item for item in items if part.holds(item)]
        for left_out in LEFT_OUT:
            errors = errors_of(item.errors[left_out] for item in chosen)
            held = coverage(chosen, left_out, widths[left_out])
            mean, median = part.asked(left_out)
            times = max(errors.mean / mean, errors.median / median)
            if times > 1 or held.inside < LEAST_INSIDE:
                name = (part.name, HEADS[left_out], str(errors.count))
                beyond = (_pair(errors), f"{mean:g} / {median:g}", f"{times:.1f}")
                inside = f"{held.inside:.0f}" if held.values else "–"
                rows.append((times, (*name, *beyond, inside)))
    return Table(
        title="Where it is bad",
        heads=("slice", "", "values", "mean / median in %", "asked", "times", "inside in %"),
        rows=tuple(row for _, row in sorted(rows, key=lambda row: -row[0])),
        numeric=(2, 3, 4, 5, 6),
    )


def _cells(items: Sequence[LeftOut]) -> list[str]:
    return [_pair(errors_of(item.errors[name] for item in items)) for name in ALL_ERRORS]


def intervals(items: Sequence[LeftOut]) -> Table:
    """Coverage and width of the 90 % intervals of left-out observations."""
    widths = {left_out: fresh_half_widths(items, left_out) for left_out in LEFT_OUT}
    rows: list[tuple[str, ...]] = []
    for part in (None, *SLICES):
        chosen = [item for item in items if part is None or part.holds(item)]
        cells = [str(coverage(chosen, left_out, widths[left_out])) for left_out in LEFT_OUT]
        if part is None:
            rows.append(("all", *cells, ""))
            continue
        limits = dict.fromkeys(f"{WIDEST * part.asked(how)[0]:g}" for how in ("row", "model"))
        rows.append((part.name, *cells, " or ".join(limits)))
    return Table(
        title="Intervals of left-out rows: share inside / median width in %, values",
        heads=("slice", *(HEADS[e] for e in LEFT_OUT), "widest allowed"),
        rows=tuple(rows),
        numeric=tuple(range(1, 2 + len(LEFT_OUT))),
    )


def by_kind(items: Sequence[LeftOut]) -> Table:
    """Errors per metric, framework, GPU vendor and kind."""
    return _grouped(
        items,
        "Error by metric, framework, vendor and kind: mean / median / p90 in %",
        ("metric", "framework", "vendor", "kind"),
        lambda i: (
            METRIC_NAMES[i.metric],
            i.case.row.framework,
            i.vendor,
            KINDS[i.case.row.kind],
        ),
    )


def by_gpu(items: Sequence[LeftOut]) -> Table:
    """Errors per GPU and metric."""
    return _grouped(
        items,
        "Error by GPU: mean / median / p90 in %",
        ("GPU", "metric"),
        lambda i: (i.case.gpu.name, METRIC_NAMES[i.metric]),
    )


def _grouped(
    items: Iterable[LeftOut],
    title: str,
    heads: tuple[str, ...],
    key: Callable[[LeftOut], tuple[str, ...]],
) -> Table:
    groups: dict[tuple[str, ...], list[LeftOut]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    rows = tuple(
        (
            *name,
            str(len(chosen)),
            *(str(errors_of(item.errors[e] for item in chosen)) for e in ALL_ERRORS),
        )
        for name, chosen in sorted(groups.items())
    )
    first = len(heads)
    return Table(
        title=title,
        heads=(*heads, "values", *HEADS.values()),
        rows=rows,
        numeric=tuple(range(first, first + 1 + len(HEADS))),
    )


def ranks(items: Sequence[LeftOut]) -> Table:
    """Rank agreement over configurations of the same model, GPU and load."""
    rows: list[tuple[str, ...]] = []
    for metric, kind in KINDS_OF_TAU:
        chosen = [i for i in items if i.metric == metric and i.case.row.kind == kind]
        found = {errors: agreement(chosen, errors) for errors in ALL_ERRORS}
        if found["fitted"].pairs:
            rows.append(
                (
                    f"{METRIC_NAMES[metric]}, {KINDS[kind]}",
                    str(found["fitted"].groups),
                    str(found["fitted"].pairs),
                    *(f"{found[errors].tau:.3f}" for errors in ALL_ERRORS),
                )
            )
    return Table(
        title="Rank agreement: Kendall's tau",
        heads=("metric", "groups", "pairs", *HEADS.values()),
        rows=tuple(rows),
        numeric=tuple(range(1, 3 + len(HEADS))),
    )


def winners(items: Sequence[LeftOut]) -> Table:
    """Which framework wins on equal machines, and how often the prediction says so."""
    found = duels(items)
    rows = [
        (
            f"{one.machine[0]}, {one.machine[1]} x {one.machine[2]}",
            f"{one.second} / {one.first}",
            f"{math.exp(one.measured):.2f}",
            *(f"{math.exp(one.predicted[errors]):.2f}" for errors in ALL_ERRORS),
        )
        for one in found
    ]
    if found:
        right = (sum(one.right(errors) for one in found) for errors in ALL_ERRORS)
        rows.append(("right", f"of {len(found)}", "", *(f"{count:g}" for count in right)))
    return Table(
        title="Which framework wins: time of a burst by one over that by the other",
        heads=("model, GPU", "frameworks", "measured", *HEADS.values()),
        rows=tuple(rows),
        numeric=tuple(range(2, 3 + len(HEADS))),
    )


def worst(items: Sequence[LeftOut]) -> Table:
    """The largest errors of the fit."""
    chosen = sorted(items, key=lambda item: -abs(item.errors["fitted"]))[:WORST]
    rows = tuple(
        (
            item.case.row.id,
            METRIC_NAMES[item.metric],
            f"{item.model}, {item.case.gpu.name} x {item.case.row.gpus}",
            f"{KINDS[item.case.row.kind]}, {item.case.row.load:g} x "
            f"{item.case.row.prompt_tokens:g} + {item.case.row.output_tokens:g}",
            format_seconds(item.measured),
            f"{math.exp(item.errors['fitted']):.2f}",
            item.exclusion and "excluded",
        )
        for item in chosen
    )
    return Table(
        title="Worst values",
        heads=("id", "metric", "model, GPU", "load", "measured", "predicted / measured", ""),
        rows=rows,
        numeric=(4, 5),
    )


def excluded(items: Sequence[LeftOut]) -> Table:
    """Values that are kept out of the fit."""
    rows = tuple(
        (item.case.row.id, METRIC_NAMES[item.metric], item.case.row.source, item.exclusion)
        for item in items
        if item.exclusion
    )
    return Table(
        title="Values kept out of the fit",
        heads=("id", "metric", "source", "why"),
        rows=rows,
    )


def doubts(table: FitTable) -> Table:
    """Fits at a bound, or of too few points."""
    rows = tuple(
        (key, str(table.points[level, key]), note)
        for (level, key), note in sorted(table.notes.items())
    )
    return Table(
        title="Fits at a bound or of too few points",
        heads=("GPU / engine", "rows", "note"),
        rows=rows,
        numeric=(1,),
    )


def versions(items: Sequence[LeftOut]) -> Table:
    """Which framework versions the rows ran, as they are modelled."""
    rows: dict[tuple[str, str], set[str]] = {}
    for item in items:
        engine = next(k.split("/")[-1] for level, k in item.case.keys if level == "gpu-engine")
        family = next((k for level, k in item.case.keys if level == "version"), "unstated")
        rows.setdefault((engine, family), set()).add(item.case.row.id)
    return Table(
        title="Versions modelled",
        heads=("engine", "from version", "rows"),
        rows=tuple(
            (engine, family.rpartition("-")[2], str(len(seen)))
            for (engine, family), seen in sorted(rows.items(), key=lambda kv: _order(kv[0]))
        ),
        numeric=(2,),
    )


def _order(key: tuple[str, str]) -> tuple[str, list[int]]:
    return key[0], [int(part) for part in key[1].rpartition("-")[2].split(".") if part.isdigit()]
