"""Precisions that a tolerance allows: where each is tried, its cost, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.domain import Gpu, Lengths, Plan, Reason, Recommendation, Tolerance, Workload
from guide.frameworks import FRAMEWORKS
from guide.models.precision import PRECISIONS, effective
from guide.perf.memory import memory_fit
from guide.report.sentences import precision_reason
from guide.search.operating_point import default_limits
from guide.search.rank import worst_loss
from guide.search.recommend import recommend
from guide.search.space import Shape, is_online, modelled_release, shapes, variants
from guide.simulate.capacity import layout_cost
from guide.web.nodes import imagined
from guide.web.state import PoolRow

CATALOG = load()
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
WITHOUT_FP8 = sorted(
    gpu.name
    for gpu in CATALOG.gpus.values()
    if gpu.vendor == "nvidia" and gpu.fp8_flop_per_s is None and gpu.bf16_flop_per_s is not None
)


def plan(tolerance: Tolerance, model: str = LLAMA, rate: float = 2.0) -> Plan:
    load_ = Workload(
        prompt=Lengths(mean_tokens=500), output=Lengths(mean_tokens=200), requests_per_s=rate
    )
    return Plan(
        model=CATALOG.models[model], workload=load_, frameworks=("vLLM",), tolerance=tolerance
    )


@cache
def ask(
    gpu: str, tolerance: Tolerance, model: str = LLAMA, rate: float = 2.0, per: int = 4
) -> Recommendation:
    rows = [PoolRow(gpu=gpu, nodes="1", per=str(per))]
    inventory = read_inventory(imagined(rows, CATALOG), [], CATALOG)
    return recommend(plan(tolerance, model, rate), inventory, CATALOG)


def ways(gpu: Gpu, tolerance: Tolerance) -> set[tuple[str, str, bool]]:
    return {
        (v.precision.name, v.kv_cache_dtype, is_online(v.model, v.precision))
        for v in variants(plan(tolerance), CATALOG, gpu)
    }


def test_online_fp8_weights_need_no_fp8_units():
    found = ways(CATALOG.gpus["A100-80GB"], Tolerance.FP8)
    assert ("fp8", "auto", True) in found
    assert not [kv for _, kv, _ in found if kv != "auto"]


def test_an_fp8_cache_is_a_choice_of_its_own():
    found = ways(CATALOG.gpus["H100-SXM"], Tolerance.FP8)
    assert {("bf16", "fp8", False), ("fp8", "auto", True), ("fp8", "fp8", True)} <= found
    assert ways(CATALOG.gpus["H100-SXM"], Tolerance.LOSSLESS) == {("bf16", "auto", False)}


@pytest.mark.parametrize(
    ("card", "refused"),
    [("A100-80GB", False), ("T4", False), ("H100-SXM", False), ("MI300X", False), ("MI250X", True)],
)
def test_only_nvidia_unpacks_fp8(card: str, refused: bool):
    model, fp8 = CATALOG.models[LLAMA], PRECISIONS["fp8"]
    found = FRAMEWORKS["vLLM"].unsupported(CATALOG.gpus[card], model, fp8, 1)
    assert (found is not None) == refused
    assert found is None or found[0] is Reason.UNSUPPORTED_PRECISION


def shape(gpu: str, precision: str) -> Shape:
    one = plan(Tolerance.FP8)
    rows = [PoolRow(gpu=gpu, nodes="1", per="1")]
    inventory = read_inventory(imagined(rows, CATALOG), [], CATALOG)
    return next(
        s
        for s in shapes(one, inventory, CATALOG)
        if s.variant.precision.name == precision and s.variant.model == one.model
    )


@pytest.mark.parametrize("gpu", WITHOUT_FP8)
def test_weight_only_fp8_halves_memory_and_decode_but_no_prompt(gpu: str):
    """What Marlin does: half the bytes of the layers, GEMMs of many tokens in 16 bit."""
    assert effective(CATALOG.gpus[gpu], "fp8") == "fp16"
    held: dict[str, float] = {}
    decode: dict[str, float] = {}
    prompt: dict[str, float] = {}
    for name in ("bf16", "fp8"):
        one = shape(gpu, name)
        group = one.group(default_limits(one, 4096))
        held[name] = memory_fit(group, modelled_release(CATALOG, "vLLM"), one.switches).weight_bytes
        cost, _ = layout_cost(group, CATALOG)
        decode[name] = cost.decode_run(1, 1, 500, 0)
        prompt[name] = cost.prompt_step(8192, 1, 8192 * 8192 / 2, 0, 0, 0, 0, 1)
    around = 2 * 2 * CATALOG.models[LLAMA].vocab * CATALOG.models[LLAMA].hidden
    assert held["fp8"] - around == pytest.approx((held["bf16"] - around) / 2, rel=0.02)
    assert decode["fp8"] < 0.8 * decode["bf16"]
    # up to a tenth where roofs are mixed smoothly: weights are read beside the arithmetic
    assert prompt["fp8"] > 0.89 * prompt["bf16"]


@pytest.mark.parametrize("gpu", ["A100-80GB", "H100-SXM"])
@pytest.mark.parametrize("tolerance", [Tolerance.FP8, Tolerance.INT4])
@pytest.mark.parametrize("model", [LLAMA, "Qwen/Qwen3-32B"])
def test_where_a_checkpoint_is_published_nothing_is_quantised(
    gpu: str, tolerance: Tolerance, model: str
):
    found = ask(gpu, tolerance, model)
    listed = [e for e in (found.best, *found.alternatives) if e is not None]
    assert listed
    published = {m.precision for m in CATALOG.models.values() if m.base == model}
    assert "fp8" in published
    for one in listed:
        assert not any(is_online(g.model, g.precision) for g in one.candidate.groups)


@pytest.mark.parametrize("gpu", ["A100-80GB", "H100-SXM", "MI250X", "T4"])
@pytest.mark.parametrize("tolerance", list(Tolerance))
@pytest.mark.parametrize("rate", [1.0, 20.0])
def test_a_tolerance_that_changed_nothing_says_why(gpu: str, tolerance: Tolerance, rate: float):
    found = ask(gpu, tolerance, LLAMA, rate)
    said = [note for note in found.notes if "changed nothing" in note]
    kept = [note for note in found.notes if "KV cache stays" in note]
    if found.best is None or tolerance is Tolerance.LOSSLESS:
        assert not said + kept
        return
    assert bool(said) == (worst_loss(found.best) == 0)
    old = any(g.gpu.fp8_flop_per_s is None for g in found.best.candidate.groups)
    assert bool(kept) == old


def test_every_precision_is_explained():
    own, online = ask("A100-80GB", Tolerance.LOSSLESS), ask("A100-80GB", Tolerance.FP8)
    for found in (own, online):
        for one in (found.best, *found.alternatives):
            assert one is not None
            for item in one.groups:
                said = precision_reason(item)
                small = item.group.precision.name == "fp8"
                assert ("weight only" in said) == small
                assert ("published" in said) == (item.group.model.base is not None)
    item = online.best.groups[0] if online.best else pytest.fail("no answer")
    forced = replace(item, group=replace(item.group, precision=PRECISIONS["fp8"]))
    assert "quantises" in precision_reason(
        replace(forced, group=replace(forced.group, model=CATALOG.models[LLAMA]))
    )


def test_each_part_of_a_tolerance_that_was_not_taken_has_its_own_sentence():
    """8-bit and 4-bit weights have different reasons; a published FP8 checkpoint answers one."""
    found = ask("A100-80GB", Tolerance.INT4, "bigscience/bloom-7b1")
    eight = next(note for note in found.notes if "changed nothing" in note)
    assert "8-bit weights or cache keep every limit too" in eight
    four = next(note for note in found.notes if "took no 4-bit weights" in note)
    assert "no checkpoint of bigscience/bloom-7b1 with 4-bit weights is known" in four
    only = ask("A100-80GB", Tolerance.FP8, "bigscience/bloom-7b1")
    assert not any("4-bit" in note for note in only.notes)
