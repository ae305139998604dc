"""PromQL over the metrics of every framework, by names that changed between releases (pure).

Dashboards, rules and the operator use the same expressions. `selector` is what stands between the
braces; series carry `namespace` and `plan` by relabelling (docs/monitoring.md).
"""

from __future__ import annotations

from collections.abc import Iterable

from guide.frameworks import FRAMEWORKS
from guide.frameworks.metrics import MetricNames

# every set of names once, in the order of the frameworks
NAMES = tuple({each.metrics.ended: each.metrics for each in FRAMEWORKS.values()}.values())
# quantity -> histograms that tell it, the best first
HISTOGRAMS: dict[str, tuple[str, ...]] = {
    quantity: tuple(name for names in NAMES for name in names.histograms[quantity])
    for quantity in NAMES[0].histograms
}
ENDED = tuple(names.ended for names in NAMES)
BY_PLAN = ("namespace", "plan")


def mean(quantity: str, selector: str, window: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """The mean of a quantity over `window`: sums over counts, exact whatever the buckets."""
    return _either(
        f"{_sum(by, f'{name}_sum', selector, window)}"
        f" / ({_sum(by, f'{name}_count', selector, window)} > 0)"
        for name in HISTOGRAMS[quantity]
    )


def quantile(
    share: float, quantity: str, selector: str, window: str, by: tuple[str, ...] = BY_PLAN
) -> str:
    """A quantile of a quantity, as exact as its buckets are narrow."""
    return _either(
        f"histogram_quantile({share:g}, {_sum((*by, 'le'), f'{name}_bucket', selector, window)})"
        for name in HISTOGRAMS[quantity]
    )


def count(quantity: str, selector: str, window: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """How many values of a quantity came within `window`."""
    return _either(
        f"sum by ({', '.join(by)}) (increase({name}_count{{{selector}}}[{window}]))"
        for name in HISTOGRAMS[quantity]
    )


def requests_per_second(selector: str, window: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """Requests that ended, per second."""
    return _either(_sum(by, name, selector, window) for name in ENDED)


def output_tokens_per_second(selector: str, window: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """Output tokens per second."""
    return _either(_sum(by, names.output_tokens, selector, window) for names in NAMES)


def error_ratio(selector: str, window: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """The share of requests that were aborted or failed; 0 where no such series exists yet."""
    return _either(_error_ratio(names, selector, window, by) for names in NAMES)


def waiting(selector: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """Requests in the queues."""
    return _either(f"sum by ({', '.join(by)}) ({names.waiting}{{{selector}}})" for names in NAMES)


def running(selector: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """Requests in batches."""
    return _either(f"sum by ({', '.join(by)}) ({names.running}{{{selector}}})" for names in NAMES)


def in_flight(selector: str, ago: str = "", by: tuple[str, ...] = BY_PLAN) -> str:
    """Requests in queues and batches, now or `ago`."""
    every = "|".join(name for names in NAMES for name in (names.running, names.waiting))
    names = f'__name__=~"{every}"'
    offset = f" offset {ago}" if ago else ""
    return f"sum by ({', '.join(by)}) ({{{names}, {selector}}}{offset})"


def kv_usage(selector: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """The fullest KV cache, as a share."""
    return _either(
        f"max by ({', '.join(by)}) ({name}{{{selector}}})"
        for names in NAMES
        for name in names.kv_share
    )


def at_start(quantity: str, selector: str, unit: float = 1.0, by: tuple[str, ...] = BY_PLAN) -> str:
    """What servers tell of their start (`MetricNames.started`), times `unit`: the mean of the pods,
    phases of one pod added up.
    """
    mean_ = _either(
        f"avg by ({', '.join(by)}) (sum by ({', '.join((*by, 'instance'))}) "
        f"({narrowed(names.started[quantity], selector)}))"
        for names in NAMES
        if quantity in names.started
    )
    return mean_ if unit == 1 else f"({mean_}) * {unit:.0f}"


def narrowed(gauge: str, selector: str) -> str:
    """A gauge, which may have labels of its own, under one more selector."""
    name, _, labels = gauge.rstrip("}").partition("{")
    return f"{name}{{{', '.join(part for part in (selector, labels) if part)}}}"


def prefix_hit_share(selector: str, window: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """The share of prompt tokens that the prefix cache held."""
    return _either(
        f"{_sum(by, hits, selector, window)} / ({_sum(by, asked, selector, window)} > 0)"
        for hits, asked in (names.prefix for names in NAMES)
    )


def preemptions(selector: str, window: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """Requests that lost their KV cache within `window`."""
    return _either(
        f"sum by ({', '.join(by)}) (increase({names.preemptions}{{{selector}}}[{window}]))"
        for names in NAMES
    )


def pods(selector: str, ago: str = "", by: tuple[str, ...] = BY_PLAN) -> str:
    """How many pods reported, now or `ago`."""
    offset = f" offset {ago}" if ago else ""
    return _either(
        f"count by ({', '.join(by)}) ({names.running}{{{selector}}}{offset})" for names in NAMES
    )


def restarts(selector: str, window: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """How often a counter began anew within `window`: a pod was started again."""
    return _either(
        f"sum by ({', '.join(by)}) (resets({name}_count{{{selector}}}[{window}]))"
        for name in HISTOGRAMS["ttft"]
    )


def _error_ratio(names: MetricNames, selector: str, window: str, by: tuple[str, ...]) -> str:
    """By a label of those that ended, or by a counter of its own."""
    every = _sum(by, names.ended, selector, window)
    if "=" in names.failed:
        narrow = ", ".join(part for part in (selector, names.failed) if part)
        failed = _sum(by, names.ended, narrow, window)
    else:
        failed = _sum(by, names.failed, selector, window)
    return f"({failed} or 0 * {every}) / ({every} > 0)"


def _sum(by: tuple[str, ...], name: str, selector: str, window: str) -> str:
    return f"sum by ({', '.join(by)}) (rate({name}{{{selector}}}[{window}]))"


def _either(expressions: Iterable[str]) -> str:
    options = list(expressions)
    return options[0] if len(options) == 1 else " or ".join(f"({one})" for one in options)
