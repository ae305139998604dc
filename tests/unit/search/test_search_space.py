"""Which candidates exist, and what bounds refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guide.domain import Budget, Precision, Reason, Switches, Tolerance
from guide.models.precision import PRECISIONS
from guide.models.storing import RECIPES, stored
from guide.search import bounds
from guide.search.space import Shape, Variant, considered_pools, modelled_release, shapes, variants
from tests import toy


def shape(tp: int = 1, pp: int = 1, precision: str = "bf16", **model: object) -> Shape:
    return Shape(
        pool=toy.CLUSTER.pools[0],
        gpu=toy.BIG,
        release=modelled_release(toy.CATALOG, "vLLM"),
        variant=Variant(
            model=stored(
                replace(toy.DECODER, **model).arch(),  # pyright: ignore[reportArgumentType]
                RECIPES[precision],
            ),
            precision=PRECISIONS[precision],
        ),
        tp=tp,
        pp=pp,
        switches=Switches(),
    )


def names(tolerance: Tolerance, gpu: object = toy.BIG) -> list[tuple[str, str, str, int]]:
    plan = toy.question(tolerance=tolerance)
    return [
        (v.model.name, v.precision.name, v.kv_cache_dtype, v.loss)
        for v in variants(plan, toy.CATALOG, gpu)  # pyright: ignore[reportArgumentType]
    ]


def test_each_tolerance_includes_the_former():
    lossless, fp8, int4 = (names(t) for t in Tolerance)
    assert lossless == [("toy/8b", "bf16", "auto", 0)]
    assert set(lossless) < set(fp8) < set(int4)
    assert ("toy/8b", "fp8", "fp8", 1) in fp8
    assert ("toy/8b-awq", "int4", "auto", 2) in int4
    assert not any("awq" in name for name, *_ in fp8)


def test_gpus_without_fp8_get_fp8_weights_alone():
    assert names(Tolerance.FP8, toy.SMALL) == [
        ("toy/8b", "bf16", "auto", 0),
        ("toy/8b", "fp8", "auto", 1),
    ]


def test_bf16_runs_as_fp16_where_the_gpu_has_no_bf16_and_loses_nothing():
    old = replace(toy.BIG, bf16_flop_per_s=None, fp8_flop_per_s=None)
    assert names(Tolerance.LOSSLESS, old) == [("toy/8b", "fp16", "auto", 0)]


def test_every_pool_framework_and_layout_is_enumerated_once():
    found = [s.key for s in shapes(toy.question(), toy.CLUSTER, toy.CATALOG)]
    assert len(found) == len(set(found)) == 2 * 2 * 5 * 3


def test_placement_limits_the_pools():
    plan = toy.question(gpus=("Small",))
    assert [pool.name for pool in considered_pools(plan, toy.CLUSTER)] == ["small"]


@pytest.mark.parametrize(
    ("tp", "heads", "kv_heads", "refused"),
    [
        *((8, 28, 4, True), (4, 28, 4, False), (16, 32, 8, False), (4, 24, 6, True)),
        *((2, 25, 5, True), (4, 24, 3, True), (3, 24, 1, False)),
    ],
)
def test_heads_must_divide(tp: int, heads: int, kv_heads: int, refused: bool):
    broken = bounds.heads_not_divisible(shape(tp=tp, heads=heads, kv_heads=kv_heads))
    assert (broken is not None) is refused
    if broken:
        assert broken.reason is Reason.HEADS_NOT_DIVISIBLE
        assert 0 < broken.margin < 1


def test_every_kind_of_layer_must_divide():
    """The first kind divides over four GPUs, the second does not."""
    one = shape(tp=4)
    model = one.variant.model
    (group,) = model.groups
    uneven = replace(group, attention=replace(group.attention, heads=30, kv_heads=30))
    mixed = replace(one.variant, model=replace(model, groups=(group, uneven)))
    broken = bounds.heads_not_divisible(replace(one, variant=mixed))
    assert broken is not None
    assert broken.detail == "30 attention heads do not divide over TP 4"
    assert broken.margin == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("tp", "ffn", "refused"), [(8, 14336, False), (8, 18944, True), (4, 18944, False)]
)
def test_quantisation_groups_must_divide(tp: int, ffn: int, refused: bool):
    # 18944 / 128 = 148 groups: 4 GPUs take 37 each, 8 GPUs cannot share them
    broken = bounds.quant_group_not_divisible(shape(tp=tp, ffn=ffn, precision="int4"))
    assert (broken is not None) is refused
    if broken:
        assert "a GPU holds 2368 of the 18944 channels over which TP 8 splits" in broken.detail
        assert broken.margin == pytest.approx(64 / 128)
    assert bounds.quant_group_not_divisible(shape(tp=tp, ffn=ffn)) is None


def test_a_replica_stays_inside_a_node():
    assert bounds.spans_nodes(shape(tp=8)) is None
    broken = bounds.spans_nodes(shape(tp=8, pp=2))
    assert broken is not None
    assert broken.margin == pytest.approx(1.0)


def test_time_shared_gpus_serve_single_gpu_replicas_only():
    shared = replace(toy.CLUSTER.pools[0], shared=True)
    assert bounds.shared_gpu(replace(shape(tp=1), pool=shared)) is None
    broken = bounds.shared_gpu(replace(shape(tp=2), pool=shared))
    assert broken is not None
    assert broken.reason is Reason.SHARED_GPU


def test_free_gpus_count_node_by_node():
    fragments = replace(toy.CLUSTER.pools[0], free_gpus_by_node=(3, 3, 3))
    broken = bounds.not_enough_gpus(replace(shape(tp=4), pool=fragments), 1)
    assert broken is not None  # nine GPUs are free, but no four on one node
    assert broken.detail == "needs 4 free GPUs on one node; big has at most 3"
    assert broken.margin == pytest.approx(1 / 3)
    assert bounds.not_enough_gpus(replace(shape(tp=2), pool=fragments), 3) is None
    more = bounds.not_enough_gpus(replace(shape(tp=2), pool=fragments), 4)
    assert more is not None
    assert more.detail == "needs 4 replicas of 2 GPUs; 3 fit into the 9 free GPUs of big"
    assert more.margin == pytest.approx(1 / 3)
    none_free = replace(fragments, free_gpus_by_node=())
    nothing = bounds.not_enough_gpus(replace(shape(tp=2), pool=none_free), 1)
    assert nothing is not None
    assert nothing.margin == 1.0


def test_budget_without_a_price_cannot_be_promised():
    plan = toy.question(budget=Budget(max_usd_per_h=10, max_gpus=4))
    assert bounds.over_budget(plan, 4, 10.0) is None
    for gpus, usd in ((5, 10.0), (4, 10.01), (4, None)):
        broken = bounds.over_budget(plan, gpus, usd)
        assert broken is not None
        assert broken.reason is Reason.OVER_BUDGET


def test_precision_that_a_framework_lacks_is_refused():
    plan = toy.question(tolerance=Tolerance.FP8, frameworks=("FastGen",))
    on_big = [s for s in shapes(plan, toy.CLUSTER, toy.CATALOG) if s.pool.name == "big"]
    kv = [s for s in on_big if s.variant.kv_cache_dtype == "fp8" and s.pp == 1]
    assert kv
    for one in kv:
        broken = bounds.unsupported(one)
        assert broken is not None
        assert broken.reason is Reason.UNSUPPORTED_PRECISION


def test_loss_orders_precisions():
    def loss(precision: Precision, kv: str = "auto") -> int:
        return Variant(model=toy.MODEL, precision=precision, kv_cache_dtype=kv).loss

    assert loss(PRECISIONS["bf16"]) == 0
    assert loss(PRECISIONS["bf16"], "fp8") == loss(PRECISIONS["fp8"]) == 1
