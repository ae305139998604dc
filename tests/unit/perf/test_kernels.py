"""Steps priced by measured kernels: the physics that no fit may break."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pytest

from guide.catalog import load
from guide.domain import StepShape
from guide.models.precision import PRECISIONS
from guide.perf.kernels import folding
from guide.perf.kernels.calls import all_reduce_seconds
from guide.perf.kernels.choice import choose, lesser_gpus, nvlink_bytes_per_s, table_gpu
from guide.perf.kernels.curves import NODES, Curves
from guide.perf.kernels.folding import curves
from guide.perf.kernels.levels import all_reduces, levels
from guide.perf.ops import Layout, Role, operator_table
from guide.perf.routing import Unevenness
from tests.conftest import engine_forgets
from tests.datasheets import nowhere_below

CATALOG = load()
TABLES = ("A100-80GB", "H100-SXM", "H200", "B200", "B300", "GB200", "L40S", "RTXPRO6000")
LLAMA, MIXTURE, LATENT = (
    "meta-llama/Llama-3.1-70B",
    "Qwen/Qwen3-30B-A3B",
    "deepseek-ai/DeepSeek-V3",
)
SHARES = ("sw", "sc", "a", "b", "s", "skv")
NEVER_SLOWER = 1.05  # two benchmarks of one chip differ by about as much


def priced(model: str, gpu: str, precision: str = "bf16", tp: int = 1, ep: int = 1) -> Curves:
    layout = Layout(tp=tp, expert_parallel=ep)
    found = curves(CATALOG.models[model], CATALOG.gpus[gpu], PRECISIONS[precision], layout)
    assert found is not None
    return found


def step(found: Curves, tokens: float) -> float:
    return sum(found.work(0, 0, tokens, tokens))


@pytest.mark.parametrize("gpu", TABLES)
def test_every_table_prices_every_kind_of_layer(gpu: str) -> None:
    families = {level.family for level in levels(gpu)}
    assert {"gemm", "moe", "decode", "prefill"} <= families
    assert {mode for mode, _ in all_reduces(gpu)} == {"graph", "eager"}


@pytest.mark.parametrize("gpu", TABLES)
def test_no_share_of_a_roof_exceeds_it(gpu: str) -> None:
    for level in levels(gpu):
        for name in SHARES:
            assert level.constants.get(name, 0.0) <= 1.0, (level.family, level.dtype, name)


@pytest.mark.parametrize("model", [LLAMA, MIXTURE, LATENT])
@pytest.mark.parametrize("gpu", TABLES)
def test_no_step_is_below_its_memory_floor(model: str, gpu: str) -> None:
    found, chip = priced(model, gpu, tp=8), CATALOG.gpus[gpu]
    table = operator_table(CATALOG.models[model], PRECISIONS["bf16"], Layout(tp=8))
    dense = sum(r.weight_bytes for r in table if r.role in (Role.DENSE, Role.HEAD))
    assert found.work(0, 0, 1, 1).dense >= 0.99 * dense / chip.hbm_bytes_per_s
    everything = sum(r.weight_bytes for r in table if r.role is not Role.LOOKUP)
    assert step(found, 4096) >= 0.99 * everything / chip.hbm_bytes_per_s


@pytest.mark.parametrize("model", [LLAMA, MIXTURE, LATENT])
@pytest.mark.parametrize("gpu", TABLES)
def test_more_tokens_take_no_less_time(model: str, gpu: str) -> None:
    found = priced(model, gpu, tp=2)
    times = [step(found, tokens) for tokens in NODES[1:]]
    assert times == sorted(times)


@pytest.mark.parametrize("precision", ["bf16", "fp8", "nvfp4"])
@pytest.mark.parametrize("model", [LLAMA, MIXTURE])
@pytest.mark.parametrize("gpu", TABLES)
def test_no_token_takes_longer_in_a_larger_step(model: str, gpu: str, precision: str) -> None:
    """A table's slow point would be cut or padded around: one token in FP8 was twice eight."""
    found = priced(model, gpu, precision)
    for curve in (found.dense, found.expert, found.head):
        each = [curve(tokens) / tokens for tokens in (*NODES[1:], 100_000)]
        assert all(b <= a * (1 + 1e-9) for a, b in pairwise(each))


@pytest.mark.parametrize("gpu", ["H200", "B200"])
def test_ranks_pay_for_the_exchange_and_wait_for_the_slowest(
    gpu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = (CATALOG.models[LATENT], CATALOG.gpus[gpu], PRECISIONS["fp8"])
    layout = Layout(attention_ranks=8, expert_parallel=8)
    ranks = curves(*asked, layout)
    monkeypatch.setattr(folding, "unevenness", lambda *_: Unevenness(0.0, 0.0))
    engine_forgets()
    even = curves(*asked, layout)
    assert ranks is not None
    assert even is not None
    assert ranks.network_graph(32) > 0
    assert ranks.expert(2048) > even.expert(2048)


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
@pytest.mark.parametrize("model", [LLAMA, MIXTURE])
@pytest.mark.parametrize(
    ("better", "worse"),
    [("H200", "H100-SXM"), ("A100-80GB", "A100-SXM4-40GB"), ("GB200", "B200")],
)
def test_a_gpu_with_a_better_datasheet_is_not_slower(
    better: str, worse: str, model: str, precision: str
) -> None:
    new, old = priced(model, better, precision), priced(model, worse, precision)
    for tokens in NODES[1:]:
        assert step(new, tokens) <= NEVER_SLOWER * step(old, tokens), tokens
    assert new.context_token_s <= NEVER_SLOWER * old.context_token_s
    assert new.pair_s <= NEVER_SLOWER * old.pair_s


def test_a_lesser_table_is_held_at_the_datasheets_that_it_prices() -> None:
    gpus = [gpu for gpu in CATALOG.gpus.values() if table_gpu(gpu)]
    pairs = 0
    for better, lesser in permutations(gpus, 2):
        apart = table_gpu(better) != table_gpu(lesser)
        if apart and nowhere_below(better, lesser, "bf16"):
            pairs += 1
            held = [g for g in lesser_gpus(better) if table_gpu(g) == table_gpu(lesser)]
            covers = (nowhere_below(g, lesser, "bf16") for g in held)
            assert any(covers), (better.name, lesser.name)
    assert pairs > 10


@pytest.mark.parametrize("gpu", TABLES)
@pytest.mark.parametrize("model", [LLAMA, MIXTURE])
def test_the_order_of_datasheets_leaves_what_was_measured_of_a_gpu(
    model: str, gpu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordered = priced(model, gpu, tp=4)
    monkeypatch.setattr(folding, "lesser_gpus", lambda _: [])
    alone = priced(model, gpu, tp=4)
    shares = [step(ordered, tokens) / step(alone, tokens) for tokens in NODES[1:]]
    assert np.median(shares) > 1 / NEVER_SLOWER


def test_an_all_reduce_over_pcie_is_bounded_by_the_link_of_the_gpu_itself() -> None:
    sizes = np.array([1e3, 1e6, 1e9])
    for name in ("RTX4090", "A100-80GB-PCIe", "H100-PCIe"):  # by the table of a faster link
        gpu = CATALOG.gpus[name]
        seconds = all_reduce_seconds(gpu, "graph", 4, sizes)
        assert (seconds >= 1.5 * sizes / gpu.link.bytes_per_s).all(), name
        table = CATALOG.gpus[table_gpu(gpu) or ""]
        assert (seconds >= all_reduce_seconds(table, "graph", 4, sizes)).all(), name


def test_an_all_reduce_is_slower_by_the_nvlink_of_the_gpu_itself_beyond_its_launch() -> None:
    for name in TABLES:
        gpu = CATALOG.gpus[name]
        rate = nvlink_bytes_per_s(name)
        assert rate == (None if gpu.link.kind == "pcie" else gpu.link.bytes_per_s), name
        if rate is None:
            continue
        link = replace(gpu.link, bytes_per_s=rate / 3)
        for sizes in (np.array([1e9]), np.array([1e3, 1e9])):  # whatever is asked beside
            own, slow = (
                all_reduce_seconds(one, "graph", 2, sizes) for one in (gpu, replace(gpu, link=link))
            )
            assert slow[-1] == pytest.approx(3 * own[-1], rel=0.05), name
        assert slow[0] == pytest.approx(own[0], rel=0.1), name  # the launch


def test_a_gpu_without_a_table_takes_its_relative_and_says_so() -> None:
    chosen = choose(CATALOG.gpus["H100-PCIe"], "gemm", "bf16")
    assert chosen is not None
    assert chosen.level.gpu == "H100-SXM"
    assert chosen.relative


@pytest.mark.parametrize("gpu", ["MI300X", "Max1550", "T4", "V100-32GB"])
def test_no_table_speaks_for_other_vendors_and_old_generations(gpu: str) -> None:
    assert table_gpu(CATALOG.gpus[gpu]) is None


def test_experts_of_their_own_kernels_by_parallelism() -> None:
    gpu = CATALOG.gpus["H200"]
    split, whole = choose(gpu, "moe", "fp8-block", 1), choose(gpu, "moe", "fp8-block", 4)
    assert split is not None
    assert whole is not None
    assert "triton" in split.level.kernel
    assert "cutlass" in whole.level.kernel


def test_the_kernels_of_a_step_add_up_to_its_work() -> None:
    found = priced(MIXTURE, "B200", tp=2)
    shape = StepShape(decode_sequences=16, sampled_sequences=16, decode_context_tokens=16_000)
    named = sum(k.seconds for k in found.kernels(shape))
    work = found.step_work(shape)
    whole = work.dense + work.expert + found.context_token_s * 16_000
    assert math.isclose(named, whole, rel_tol=0.05)  # the rest: norms and residuals
