"""What a running layout should do: as wide as the answer for the same load."""

from __future__ import annotations

from dataclasses import replace

from guide.catalog import load
from guide.domain import Inventory
from guide.live.expect import expect
from guide.perf.fits import fit_of
from guide.search.assess import Running
from guide.search.recommend import recommend
from tests.toy import pool, question

CATALOG = load()


def test_intervals_widen_near_saturation():
    model = CATALOG.models["meta-llama/Llama-3.1-8B-Instruct"]
    plan = replace(question(), model=model)
    cluster = Inventory(pools=(pool("h", CATALOG.gpus["H100-SXM"], (8,)),))
    best = recommend(plan, cluster, CATALOG).best
    assert best is not None
    group = best.groups[0].group
    layout = [Running(key=group.key, replicas=group.replicas)]
    most = best.groups[0].max_requests_per_s * group.replicas
    idle, near = (
        expect(plan, cluster, CATALOG, layout, replace(plan.workload, requests_per_s=share * most))
        for share in (0.1, 0.93)
    )
    assert idle is not None
    assert near is not None
    plain = fit_of(group, CATALOG).residual
    assert all(idle.half_width[metric] >= plain[metric] for metric in ("ttft", "tpot", "e2e"))
    assert near.half_width["ttft"] > max(plain["ttft"], idle.half_width["ttft"])
