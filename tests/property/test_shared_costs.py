"""What layouts share is worked out once: it is what each would have worked out by itself."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from guide.catalog import load
from guide.models.precision import own_precision
from guide.perf.kernels.folding import WIDE, _own_curves, _Pricing, curves
from guide.perf.ops import Layout
from guide.perf.pipeline import heaviest_stages
from guide.perf.step import fold
from guide.perf.terms import Traits
from guide.simulate.capacity import layout_cost
from guide.simulate.pipeline import PipelineCost
from tests.property.test_pipeline import CATALOG, MODELS, group

models = st.sampled_from(
    [*MODELS, "meta-llama/Llama-3.1-70B-Instruct", "Qwen/Qwen3-Next-80B-A3B-Instruct"]
)
gpus = st.sampled_from(["H100-SXM", "H200", "A100-80GB", "L40S", "L4", "B200"])
spreads = st.sampled_from([1, 2, 4, 8])


@given(models, gpus, spreads, st.sampled_from(["auto", "fp8"]))
def test_curves_over_another_cache_are_those_of_all_calls(model: str, gpu: str, tp: int, kv: str):
    arch, chip = CATALOG.models[model], CATALOG.gpus[gpu]
    kind = "fp8" if kv == "fp8" else WIDE
    layout, precision = Layout(tp=tp), own_precision(arch)
    shared = _own_curves(arch, chip, precision, layout, kind)
    pricing = _Pricing(arch, chip, precision, layout, kind)
    assert (shared is not None) == pricing.complete
    if shared is None:
        return
    alone = pricing.curves()
    assert shared.numbers == alone.numbers
    assert [(u.operator, u.chosen) for u in shared.used] == [
        (u.operator, u.chosen) for u in alone.used
    ]
    assert all((a.seconds == b.seconds).all() for a, b in zip(shared.used, alone.used, strict=True))


@given(models, gpus, spreads, st.sampled_from([2, 4]), st.booleans())
def test_no_table_knows_of_stages(model: str, gpu: str, tp: int, pp: int, kernels: bool):
    arch, chip = CATALOG.models[model], CATALOG.gpus[gpu]
    precision, traits = own_precision(arch), Traits(kernels=kernels)
    staged, plain = Layout(tp=tp, pp=pp), Layout(tp=tp)
    assert fold(arch, chip, precision, staged, traits=traits) == fold(
        arch, chip, precision, plain, traits=traits
    )
    one, other = (curves(arch, chip, precision, layout) for layout in (staged, plain))
    assert (one and one.numbers) == (other and other.numbers)


@settings(max_examples=60)
@given(models, gpus, st.sampled_from([2, 4]), st.integers(1, 9000), st.integers(1, 200))
def test_no_stage_takes_longer_than_all_of_them(
    model: str, gpu: str, pp: int, prompt: int, decodes: int
):
    """So a round of one batch needs none."""
    cost, _ = layout_cost(group(model, gpu, pp), CATALOG)
    assert isinstance(cost, PipelineCost)
    assert len(cost.stages) == len(heaviest_stages(CATALOG.models[model], pp))
    pairs = prompt * (prompt + 1) / 2
    least = (cost._hop(1), cost._hop(prompt))
    assert least <= (cost._path(1), cost._path(prompt))
    for stage in cost.stages:
        whole, part = (one.decode_coefficients(decodes) for one in (cost.whole, stage))
        assert all(a <= b for a, b in zip(part, whole, strict=True))
        whole_s, part_s = (
            one.prompt_step(prompt, 1, pairs, 0.0, 0, 0.0, 0.0, 1) for one in (cost.whole, stage)
        )
        assert part_s <= whole_s


def test_an_empty_server_asks_for_no_stage():
    """Another catalogue: nothing of it was asked before."""
    cost, _ = layout_cost(group(MODELS[0], "H100-SXM", 2, per_node=4), load())
    assert isinstance(cost, PipelineCost)
    cut: list[int] = []
    cost._cut = lambda: cut.append(1) or [cost.whole]
    cost._stages = []
    cost.decode_run(1, 1, 100.0, 0.0)
    cost.prompt_step(100, 1, 5050.0, 0.0, 0, 0.0, 0.0, 1)
    assert not cut
    cost.decode_run(1, 2, 200.0, 0.0)
    assert cut
