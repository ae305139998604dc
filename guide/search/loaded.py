"""What the load alone makes of a prospect: dearer to know than what an empty server says,
far cheaper than a simulation, and asked only of who is next to be simulated.
"""

from __future__ import annotations

import math

from msgspec.structs import replace

from guide.search.asked import asked_of
from guide.search.bounds import Broken, counted, latency_misses
from guide.search.evaluate import Study
from guide.search.operating_point import half_width
from guide.search.sizing import Prospect, replicas_for
from guide.simulate.fluid import fluid

SURE = 0.9  # of the load: what comes in a run scatters, and a mean is no percentile


def loaded(found: Prospect, study: Study) -> Prospect | tuple[int, Broken]:
    """The prospect with no more counts than may keep every limit under its load, or the count and
    the limit that even the most replicas break.

    A bound on the mean TPOT (`guide.simulate.fluid`), below the p95 that limits are about. That of
    long answers, which take the time of many tokens, bounds the p95 of the end-to-end time.
    """
    plan, replica = study.plan, found.replica
    load = plan.workload
    flow = fluid(replica.group(1), replica.memory, load, study.catalog)
    if flow is None or load.requests_per_s is None:
        return found
    gaps = asked_of(plan).long.output_tokens - 1
    tpot_up, e2e_up = (math.exp(half_width(replica.fit, one)) for one in ("tpot", "e2e"))
    sure_per_s = SURE * load.requests_per_s
    tpot_s = flow.tpot_under(sure_per_s / found.most)
    how = f"even if {counted(found.most, 'replica')} share the load evenly, p95"
    missed = next(latency_misses(0, tpot_s * tpot_up, tpot_s * gaps * e2e_up, plan, how), None)
    if missed is not None:
        return found.most, missed
    limits_s = (
        *([] if plan.slo.tpot_p95_s is None else [plan.slo.tpot_p95_s / tpot_up]),
        *([] if plan.slo.e2e_p95_s is None or not gaps else [plan.slo.e2e_p95_s / e2e_up / gaps]),
    )
    most_per_s = min(filter(None, map(flow.rate_within, limits_s)), default=math.inf)
    fewest = max(found.fewest, replicas_for(sure_per_s, most_per_s))
    return replace(found, fewest=min(found.most, fewest), least_e2e_s=tpot_s * gaps)
