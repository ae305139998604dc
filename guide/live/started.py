"""What servers tell of their start, beside what was predicted for it (pure).

Only some frameworks tell it (`MetricNames.started`): the weights and caches that one GPU holds, the
tokens of its pool, what captured graphs take, and how long all of it took.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from guide.catalog import release
from guide.domain import Catalog, GroupEvaluation
from guide.frameworks.metrics import MetricNames
from guide.live.queries import narrowed
from guide.perf.ops import layout_of
from guide.perf.static_fraction import outside_bytes
from guide.units import GIB

_TOLD = {
    "weights_gib": ("Weights of a GPU", ".2f", "GiB"),
    "kv_gib": ("KV cache of a GPU", ".2f", "GiB"),
    "kv_tokens": ("KV cache", ",.0f", "tokens"),
    "graphs_gib": ("Captured graphs", ".2f", "GiB"),
    "start_s": ("Start of a server", ".0f", "s"),
}


def queries(names: MetricNames, selector: str) -> dict[str, str]:
    """PromQL by quantity: the mean of the pods, phases of one pod added up."""
    return {
        quantity: f"avg(sum by (instance) ({narrowed(gauge, selector)}))"
        for quantity, gauge in names.started.items()
    }


def predicted(group: GroupEvaluation, catalog: Catalog) -> dict[str, float]:
    """The same quantities as far as the memory of a replica is predicted; no time of a start is."""
    asked, memory = group.group, group.memory
    tokens = memory.kv_capacity_tokens
    found = {
        "weights_gib": memory.weight_bytes / GIB,
        "kv_gib": tokens * memory.kv_bytes_per_token / GIB,
        "kv_tokens": float(tokens),
    }
    static = release(catalog, asked.framework, asked.version).memory.static
    if static is not None:
        parts = outside_bytes(layout_of(asked), asked.limits, static, 0.0)
        found["graphs_gib"] = parts["captured graphs"] / GIB
    return found


def beside(observed: Mapping[str, float], expected: Mapping[str, float]) -> Iterator[str]:
    """One sentence for each quantity that servers told."""
    for quantity, (name, form, unit) in _TOLD.items():
        if quantity not in observed:
            continue
        seen, told = observed[quantity], expected.get(quantity)
        against = "nothing is predicted" if told is None else f"predicted {told:{form}} {unit}"
        yield f"{name}: observed {seen:{form}} {unit}, {against}."
