"""Runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guide.domain import Evaluation, Recommendation
from guide.report import tables as rows
from guide.report.sentences import choice, outcome
from guide.report.verdict import verdict
from guide.search.rank import capacity_per_s
from guide.units import format_count, format_duration, format_rate, format_seconds, format_usd
from guide.web.asking import PageQuestion, flat
from guide.web.fields import BY_PATH, ENTRIES, Field

Run = tuple[PageQuestion, Recommendation]


def comparison(runs: Sequence[Run]) -> rows.Table:
    """Runs side by side, this one first: what was asked where it differs, and what came out."""
    lines = [(name, *map(_cell, values)) for name, values in _inputs([asked for asked, _ in runs])]
    outputs = [_said(run) | _summary(run[1]) for run in runs]
    names = dict.fromkeys(name for output in outputs for name in output)
    lines += [(name, *(output.get(name, "–") for output in outputs)) for name in names]
    before = ("the run before", *(f"{n} runs before" for n in range(2, len(runs))))
    heads = ("what", "this run", *before[: len(runs) - 1])
    return rows.Table(title="Side by side", heads=heads, rows=tuple(lines))


def _inputs(asked: Sequence[PageQuestion]) -> list[tuple[str, list[Any]]]:
    """What was asked, where not all runs asked the same."""
    written = [flat(q.written.model_dump(by_alias=True, exclude_unset=True)) for q in asked]
    every = {path: [one.get(path) for one in written] for one in written for path in one}
    found = [(_label(path), said) for path, said in every.items() if _differ(said)]
    if _differ([q.inventory for q in asked]):
        found.append(("GPUs considered", [_gpus(q) for q in asked]))
    return found


def _differ(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values)


def _label(path: str) -> str:
    entry = ENTRIES.get(BY_PATH.get(path, ""))
    if entry is None:
        return "Model" if path == "spec.model.name" else path
    unit = entry.unit if isinstance(entry, Field) else ""
    return f"{entry.label} ({unit})" if unit else entry.label


def _gpus(asked: PageQuestion) -> str:
    return ", ".join(
        f"{p.free_gpus} x {p.gpu.name if p.gpu else p.product}" for p in asked.inventory.pools
    )


def _cell(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
    return "–" if value is None else str(value)


def _said(run: Run) -> dict[str, str]:
    asked, found = run
    best = found.best
    said = (
        outcome(found) if best is None else verdict(asked.plan, best, rented=asked.rented).sentence
    )
    return {"In a sentence": said}


def _summary(found: Recommendation) -> dict[str, str]:
    best = found.best
    if best is not None and best.job is not None:
        return {
            "Recommendation": choice(best),
            "Cost": cost_of(best),
            "GPUs": str(best.gpus),
            "Done after": format_duration(best.job.seconds),
            "Output tokens/s": format_count(best.predicted.output_tokens_per_s),
        }
    names = ("Recommendation", "Cost", "GPUs", "First token, p95", "Further tokens, p95")
    more = ("Whole answer, p95", "Output tokens/s", "Saturates at")
    if best is None:
        return dict.fromkeys((*names, *more), "–") | {"Recommendation": outcome(found)}
    p = best.predicted
    values = (
        choice(best),
        cost_of(best),
        str(best.gpus),
        f"{format_seconds(p.ttft.p95_s)} (to {format_seconds(p.ttft_interval.upper)})",
        f"{format_seconds(p.tpot.p95_s)} (to {format_seconds(p.tpot_interval.upper)})",
        f"{format_seconds(p.e2e.p95_s)} (to {format_seconds(p.e2e_interval.upper)})",
        format_count(p.output_tokens_per_s),
        f"{format_rate(capacity_per_s(best))} requests/s",
    )
    return dict(zip((*names, *more), values, strict=True))


def cost_of(item: Evaluation) -> str:
    """Dollars per hour, or for a batch."""
    usd = item.usd_per_h if item.job is None else item.job.usd
    if usd is None:
        return "no price known"
    return f"{format_usd(usd)}{'/h' if item.job is None else ' for the batch'}"
