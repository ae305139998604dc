"""The batch that a server may form: as large as memory holds, smaller only where TPOT asks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guide.catalog import load
from guide.domain import GpuPool, Inventory, Lengths, Plan, Recommendation, Slo, Workload
from guide.search.recommend import recommend

CATALOG = load()


def pool(free: tuple[int, ...], per_node: int = 8) -> GpuPool:
    return GpuPool(
        name="h100",
        gpu=CATALOG.gpus["H100-SXM"],
        product="H100",
        source="gfd",
        resource="nvidia.com/gpu",
        gpus_per_node=per_node,
        free_gpus_by_node=free,
    )


def asked(model: str, **load: float | int) -> Plan:
    workload = Workload(
        prompt=Lengths(mean_tokens=1024, p95_tokens=3000),
        output=Lengths(mean_tokens=256, p95_tokens=700),
        **load,  # pyright: ignore[reportArgumentType]
    )
    return Plan(model=CATALOG.models[model], workload=workload, frameworks=("vLLM",))


def answer(plan: Plan, *pools: GpuPool) -> Recommendation:
    return recommend(plan, Inventory(pools=pools), CATALOG)


@pytest.mark.parametrize(
    "plan",
    [asked("openai/gpt-oss-20b", concurrency=64), asked("openai/gpt-oss-20b", requests_per_s=9)],
)
def test_a_looser_service_level_is_never_dearer(plan: Plan):
    used: list[int] = []
    for tpot_ms in (10, 15, 20, 25, 30, 40):
        best = answer(replace(plan, slo=Slo(tpot_p95_s=tpot_ms / 1e3)), pool((8,) * 4)).best
        used.append(best.gpus if best else 99)
    assert used == sorted(used, reverse=True)
    assert used[-1] < used[0]


def test_users_who_fit_are_never_kept_outside():
    """256 users on one GPU: their requests fit at once, so none waits for another to end."""
    for users in (150, 230, 256):
        best = answer(
            asked("meta-llama/Llama-3.1-8B-Instruct", concurrency=users), pool((1,), 1)
        ).best
        assert best is not None
        assert best.groups[0].group.limits.max_num_seqs >= users
        assert best.predicted.ttft_interval.upper < 1.0


def test_a_smaller_batch_is_taken_where_only_tpot_is_missed():
    """Bursts fill the largest batch; a smaller one keeps TPOT, and prompts wait for a place."""
    one, smaller = pool((1,), 1), 0
    for requests_per_s in (4.0, 6.0, 9.0):
        plan = asked("meta-llama/Llama-3.1-8B-Instruct", requests_per_s=requests_per_s)
        free = answer(plan, one).best
        assert free is not None
        limit_s = 0.98 * free.predicted.tpot_interval.upper
        held = answer(replace(plan, slo=Slo(tpot_p95_s=limit_s)), one).best
        if held is None:
            continue
        smaller += 1
        assert held.groups[0].group.limits.max_num_seqs < free.groups[0].group.limits.max_num_seqs
        assert held.predicted.tpot_interval.upper <= limit_s
        assert held.predicted.ttft_interval.upper >= free.predicted.ttft_interval.upper
    assert smaller
