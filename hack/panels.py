"""Draw the panels of the dashboards from a Prometheus, where no Grafana can be had: for the docs.

GUIDE_PANEL_PICTURES=docs/img .venv/bin/pytest tests/e2e/test_observe.py -k "bias or drawn"

Legends, units and the shaded band come from the JSON that Grafana reads; the drawing is ours.
"""

from __future__ import annotations

import json
import math
import re
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import matplotlib as mpl

from guide.units import GIB
from hack.dashboards import FOLDER

Series = tuple[dict[str, str], list[float], list[float]]  # labels, seconds, values
_PREDICTED, _OBSERVED = "#3274d9", ("#e02f44", "#ff9830", "#56a64b")
_STYLES = {  # of those that all latency panels have; others follow matplotlib
    "predicted": {"color": _PREDICTED, "linewidth": 1.6},
    "observed": {"color": _OBSERVED[0]},
    "observed p95": {"color": _OBSERVED[0]},
    "observed p50": {"color": _OBSERVED[1]},
    "observed mean": {"color": _OBSERVED[2]},
}


def draw(
    url: str, board: str, variables: dict[str, str], span: tuple[float, float], out: Path
) -> None:
    """All panels of the dashboard file `board` over `span` (Unix times), as one picture."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    document = json.loads((FOLDER / board).read_text())
    panels = document["panels"]
    rows = math.ceil(len(panels) / 2)
    figure, axes = plt.subplots(
        rows, 2, figsize=(13, 2.9 * rows + 0.5), constrained_layout=True, squeeze=False
    )
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, panel in zip(axes.flat, panels, strict=False):
        _panel(axis, panel, url, variables, span)
    figure.suptitle(f"{document['title']} – drawn by hack/panels.py, not by Grafana", fontsize=11)
    figure.savefig(out, dpi=80, metadata={"Software": None})
    plt.close(figure)


def _panel(
    axis: Any, panel: dict[str, Any], url: str, variables: dict[str, str], span: tuple[float, float]
) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    band: dict[str, Series] = {}
    for target in panel["targets"]:
        expression = target["expr"]
        for name, value in variables.items():
            expression = expression.replace(f"${name}", value)
        for labels, at, values in _range(url, expression, span):
            legend = re.sub(
                r"\{\{(\w+)\}\}", lambda m, of=labels: of.get(m[1], ""), target["legendFormat"]
            )
            if legend in ("predicted, upper", "predicted, lower"):
                band[legend] = labels, at, values
            else:
                axis.plot(at, values, label=legend, **_STYLES.get(legend, {}))
    if len(band) == 2:
        (_, at, upper), (_, _, lower) = band["predicted, upper"], band["predicted, lower"]
        count = min(len(upper), len(lower))
        axis.fill_between(
            at[:count],
            lower[:count],
            upper[:count],
            color=_PREDICTED,
            alpha=0.15,
            linewidth=0,
            label="predicted, 90 %",
        )
    axis.set_title(panel["title"], fontsize=10, loc="left", fontweight="bold")
    axis.set_xlim(0, span[1] - span[0])
    axis.set_xlabel("seconds", fontsize=8)
    if defaults["min"] is not None:
        axis.set_ylim(bottom=defaults["min"])
    axis.yaxis.set_major_formatter(lambda value, _: _told(value, defaults["unit"]))
    axis.grid(alpha=0.25)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    legends = axis.get_legend_handles_labels()[1]
    if not legends:  # as Grafana says it, for a series that the server lacks
        axis.text(0.5, 0.5, "No data", transform=axis.transAxes, ha="center", fontsize=9)
        return
    columns = 5 if max(map(len, legends)) < 20 else 1
    axis.legend(
        fontsize=7,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.2),
        ncols=columns,
        frameon=False,
        columnspacing=1.2,
    )


def _told(value: float, unit: str) -> str:
    """A value on an axis in the unit that Grafana would show."""
    if unit == "s" and abs(value) < 1:
        return f"{1e3 * value:g} ms"
    if unit == "bytes":
        return f"{value / GIB:g} GiB"
    suffix = {"s": " s", "reqps": " req/s", "percentunit": " %", "currencyUSD": " USD"}
    return f"{100 * value if unit == 'percentunit' else value:g}{suffix.get(unit, '')}"


def _range(url: str, query: str, span: tuple[float, float]) -> list[Series]:
    """A range query with a point a second; values that are no numbers are left out."""
    asked = {"query": query, "start": span[0], "end": span[1], "step": 1}
    address = f"{url}/api/v1/query_range?{urllib.parse.urlencode(asked)}"
    with urllib.request.urlopen(address, timeout=30) as response:
        found = json.load(response)["data"]["result"]
    series: list[Series] = []
    for one in found:
        points = [(float(at) - span[0], float(value)) for at, value in one["values"]]
        points = [(at, value) for at, value in points if math.isfinite(value)]
        series.append((one["metric"], [at for at, _ in points], [v for _, v in points]))
    return series
