"""Two runs side by side."""

from __future__ import annotations

from typing import Any

from guide.domain import Evaluation, Recommendation
from guide.report import tables as rows
from guide.report.sentences import choice, outcome
from guide.search.rank import capacity_per_s
from guide.units import format_count, format_duration, format_rate, format_seconds, format_usd
from guide.web.asking import PageQuestion, flat
from guide.web.fields import BY_PATH, ENTRIES, Field


def comparison(
    here: tuple[PageQuestion, Recommendation], there: tuple[PageQuestion, Recommendation]
) -> rows.Table:
    """Two runs side by side: what was asked where it differs, and what came out."""
    lines = [(name, _cell(a), _cell(b)) for name, a, b in _inputs(here[0], there[0])]
    outputs = (_summary(here[1]), _summary(there[1]))
    both = dict.fromkeys((*outputs[0], *outputs[1]))
    lines += [(name, outputs[0].get(name, "–"), outputs[1].get(name, "–")) for name in both]
    return rows.Table(
        title="Side by side", heads=("what", "this run", "the run before"), rows=tuple(lines)
    )


def _inputs(a: PageQuestion, b: PageQuestion) -> list[tuple[str, Any, Any]]:
    mine, other = (flat(q.written.model_dump(by_alias=True, exclude_unset=True)) for q in (a, b))
    paths = [p for p in (*mine, *other) if mine.get(p) != other.get(p)]
    found = [(_label(p), mine.get(p), other.get(p)) for p in dict.fromkeys(paths)]
    if a.inventory != b.inventory:
        found.append(("GPUs considered", _gpus(a), _gpus(b)))
    return found


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
