"""What a simulation holds is gone with it, also where it runs as machine code: a worker simulates
for weeks.
"""

from __future__ import annotations

import gc
import tracemalloc
from itertools import product

from msgspec.structs import replace

from guide.catalog import load
from guide.domain import Inventory, Lengths, Plan, Workload
from guide.search.evaluate import Study
from guide.search.explore import survey
from guide.search.pricing import priced
from guide.simulate.runs import Runs
from guide.simulate.serve import serve
from tests import toy

CATALOG = load()
OPEN = Workload(prompt=Lengths(mean_tokens=300), output=Lengths(mean_tokens=50), requests_per_s=2.0)
LOADS = (
    OPEN,
    replace(OPEN, requests_per_s=None, concurrency=16),
    replace(OPEN, requests_per_s=None, offline=400),
)
ROUNDS, ROUNDING_BYTES = 2, 4096  # less than one number a request, of one run


def test_a_simulation_leaves_nothing_in_memory():
    plan = Plan(model=CATALOG.models["meta-llama/Llama-3.1-8B-Instruct"], workload=OPEN)
    pool = toy.pool("a", CATALOG.gpus["H100-SXM"], (8,))
    found = survey(
        Study(plan=plan, catalog=CATALOG), priced(Inventory(pools=(pool,)), CATALOG)
    ).replicas
    engines = [one for one in found if one.shape.gpus == 2]
    assert {one.shape.pp for one in engines} == {1, 2}
    assert len({one.shape.release.framework for one in engines}) >= 3

    def held_bytes() -> int:
        for one, asked in product(engines, LOADS):
            serve(one.group(1), one.memory, asked, CATALOG, seed=0, runs=Runs())
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        held_bytes()
        before = held_bytes()
        for _ in range(ROUNDS):
            after = held_bytes()
    finally:
        tracemalloc.stop()
    assert after - before < ROUNDING_BYTES
