"""Cost against time of the deployments that no other beats in both."""

from __future__ import annotations

from guide.domain import Evaluation, Recommendation
from guide.report.sentences import parallel, precision
from guide.units import format_duration, format_seconds, format_usd
from guide.web.charts import Chart, Mark, across, format_tick_seconds, upwards


def pareto(found: Recommendation) -> Chart | None:
    """Cost over latency of the Pareto front and the top three, of a batch its bill over its time;
    None without two prices.
    """
    best = found.best
    items = {
        _point_name(item): item
        for item in (best, *found.alternatives, *found.pareto)
        if item is not None and item.usd_per_h is not None
    }
    if best is None or len(items) < 2:
        return None
    job = best.job is not None
    late, bill, about = (
        ("time of the batch", "USD", "bill of the whole batch against its time")
        if job
        else ("whole answer p95", "USD/h", "cost per hour against the time of a whole answer")
    )
    written = format_duration if job else format_seconds
    front = {_point_name(item) for item in found.pareto}
    places = {name: _late_and_bill(item) for name, item in items.items()}
    x = across(1.1 * max(late_s for late_s, _ in places.values()))
    y = upwards(1.15 * max(usd for _, usd in places.values()))
    marks: list[Mark] = []
    rows: list[tuple[str, ...]] = []
    for name, item in items.items():
        late_s, usd = places[name]
        kind = "best" if item is best else "front" if name in front else "other"
        told = f"{name}: {format_usd(usd)}{'' if job else '/h'}, {late} {written(late_s)}"
        label = "chosen" if item is best else ""
        marks.append(Mark(x=x.at(late_s), y=y.at(usd), kind=kind, text=told, label=label))
        rows.append((name, format_usd(usd), written(late_s)))
    return Chart(
        name="pareto",
        title="Cost over time" if job else "Cost over latency",
        about=f"Deployments that keep every limit: {about}. Lower and further left is better.",
        x_title=late,
        y_title=bill,
        x_ticks=x.ticks(format_duration if job else format_tick_seconds),
        y_ticks=y.ticks(lambda value: f"${value:,.4g}"),
        marks=tuple(marks),
        heads=("deployment", bill, late),
        rows=tuple(rows),
    )


def _late_and_bill(item: Evaluation) -> tuple[float, float]:
    if item.job is not None:
        return item.job.seconds, item.job.usd or 0.0
    return item.predicted.e2e.p95_s, item.usd_per_h or 0.0


def _point_name(item: Evaluation) -> str:
    return " + ".join(
        f"{g.group.replicas} x {g.group.gpu.name} {parallel(g)} {g.group.framework} {precision(g)}"
        for g in item.groups
    )
