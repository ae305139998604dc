"""Draw how a prediction learns, from a Prometheus that saw it: for docs/monitoring.md.

GUIDE_LEARNING_PICTURE=docs/img/learning.svg .venv/bin/pytest tests/e2e/test_observe.py -k bias
"""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from pathlib import Path

import matplotlib as mpl

from guide.live import queries as q

BEFORE_S, WINDOW = 25, "20s"
Series = tuple[list[float], list[float]]  # seconds since the beginning, milliseconds


def draw(url: str, namespace: str, seconds: float, out: Path) -> None:
    """Predicted p95 with its band, predicted median and observed mean of TPOT and TTFT."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    began = time.time() - seconds - BEFORE_S
    plan = f'namespace="{namespace}", plan="chat"'
    for axis, quantity in zip(axes, ("tpot", "ttft"), strict=True):

        def predicted(labels: str, quantity: str = quantity) -> Series:
            return series(
                url, f"max(guide_predicted_{quantity}_seconds{{{plan}, {labels}}})", began
            )

        lower = predicted('percentile="p95", bound="lower"')
        upper = predicted('percentile="p95", bound="upper"')
        count = min(len(lower[0]), len(upper[0]))
        axis.fill_between(
            lower[0][:count], lower[1][:count], upper[1][:count], alpha=0.2, label="p95, predicted"
        )
        axis.plot(*predicted('percentile="p50", bound="estimate"'), label="median, predicted")
        mean = q.mean(quantity, plan, WINDOW)
        axis.plot(*series(url, mean, began), label="mean, observed", color="black")
        axis.set(title=quantity.upper(), xlabel="seconds (30 times faster than by default)")
        axis.set(ylabel="ms", ylim=(0, None))
    axes[0].legend(loc="lower right")
    out.parent.mkdir(exist_ok=True)
    figure.savefig(out, metadata={"Date": None})


def series(url: str, query: str, began: float) -> Series:
    """A range query of one series, with a point a second."""
    asked = {"query": query, "start": began, "end": time.time(), "step": 1}
    address = f"{url}/api/v1/query_range?{urllib.parse.urlencode(asked)}"
    with urllib.request.urlopen(address, timeout=10) as response:
        (found,) = json.load(response)["data"]["result"]
    values = [(float(at) - began, 1e3 * float(value)) for at, value in found["values"]]
    return [at for at, _ in values], [value for _, value in values]
