"""What a running layout should do under the observed load, by the usual simulation (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from statistics import fmean

from guide.domain import Catalog, Inventory, Percentiles, Plan, Workload
from guide.perf.fits import fit_of, observed_key
from guide.record import Record
from guide.search.assess import Running, assess
from guide.search.evaluate import hit_share, load_share, mixed
from guide.search.operating_point import half_width_near
from guide.simulate.runs import REMEMBERED
from guide.simulate.serve import serve


class Expected(Record, frozen=True, kw_only=True):
    """The prediction for the load as it is; `keys` are the corrections that it rests on."""

    ttft: Percentiles
    tpot: Percentiles
    e2e: Percentiles
    half_width: dict[str, float]  # log half-width of the 90 % interval by metric
    overhead_s: float  # of TTFT: what a request pays outside its forward steps
    stable: bool
    keys: tuple[str, ...]
    planned_hit_share: float | None = None  # of the load of a plan that states its prefixes


def expect(
    plan: Plan,
    inventory: Inventory,
    catalog: Catalog,
    layout: Sequence[Running],
    workload: Workload,
) -> Expected | None:
    """Simulate `layout`, at the operating point of `plan`, under `workload`.

    None when the layout is no longer a candidate. Latencies of several groups are weighed by their
    load.
    """
    found = assess(plan, inventory, catalog, layout)
    if found is None:
        return None
    groups = [one.group for one in found.evaluation.groups]
    reports = [
        serve(
            one.group,
            one.memory,
            load_share(workload, one.group.replicas, one.group.load_share),
            catalog,
            seed=0,
            runs=REMEMBERED,
        )
        for one in found.evaluation.groups
    ]
    fits = [fit_of(group, catalog) for group in groups]
    shares = [group.load_share for group in groups]
    prompt = workload.prompt.mean_tokens
    overheads = [fit.values["r0"] + fit.values["rt"] * prompt for fit in fits]
    keys = (observed_key(g.gpu, g.framework, g.version, g.model)[1] for g in groups)
    return Expected(
        ttft=mixed(shares, [r.ttft for r in reports]),
        tpot=mixed(shares, [r.tpot for r in reports]),
        e2e=mixed(shares, [r.e2e for r in reports]),
        half_width={
            metric: max(map(half_width_near, fits, reports, repeat(metric)))
            for metric in ("ttft", "tpot", "e2e")
        },
        overhead_s=fmean(overheads, shares),
        stable=all(report.stable for report in reports),
        keys=tuple(dict.fromkeys(keys)),
        planned_hit_share=hit_share(found.evaluation),
    )
