"""The paper's mechanisms, P1 to P20 of DESIGN.md's table, each through the command that uses it."""

from __future__ import annotations

import csv
import math
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from typer.testing import CliRunner

from guide.cli.app import app
from guide.web.settings import Settings
from tests.by_command import (
    CATALOG,
    LLAMA,
    Asked,
    asker,
    batch,
    group,
    operators,
    predicted,
    spec,
    static,
)
from tests.web_questions import CHAT, NODES, client_of, url

LAYERS, HIDDEN = 32, 4096
DATA = Path(__file__).parents[1] / "accuracy" / "data" / "measurements.csv"


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Every question is asked once."""
    return asker(tmp_path_factory.mktemp("asked"))


# --- P1, P2: the inference engine ---


def test_p1_every_input_of_the_paper_moves_the_answer(guide: Asked):
    plain = guide("plan", spec())
    assert guide("plan", spec(budget={"maxGPUs": 1}))["best"]["gpus"] == 1
    longer = guide("plan", spec(prompt=2000, output=512))
    assert group(longer)["maxRequestsPerSecond"] < group(plain)["maxRequestsPerSecond"]
    demanding = guide("plan", spec(slo={"minOutputTokensPerSecond": 1500}))
    assert demanding["best"]["gpus"] > plain["best"]["gpus"]
    quick = guide("plan", spec(preference="Latency"))
    e2e = [a["best"]["predicted"]["e2eSeconds"]["p95"] for a in (quick, plain)]
    assert e2e[0] < e2e[1]
    fewer_bits = guide("plan", spec(precisionTolerance="INT4", preference="Latency"))
    assert group(fewer_bits)["precision"] in ("fp8", "int4")
    assert group(quick)["precision"] == "fp16"


def test_p2_the_three_answers_and_the_top_three(guide: Asked):
    found = guide("plan", spec(), "4xA100-80GB")
    three = [found["best"], *found["alternatives"]]
    assert len(three) == 3

    def capacity(item: dict[str, Any]) -> float:
        return min(g["maxRequestsPerSecond"] * g["replicas"] for g in item["groups"])

    widest, fastest = found["highestThroughput"], found["lowestLatency"]
    assert capacity(widest) >= 0.98 * max(map(capacity, three))
    upper = [i["predicted"]["e2eSeconds"]["interval90"]["upper"] for i in (fastest, *three)]
    assert upper[0] <= 1.02 * min(upper)
    words = ["plan", "--model", LLAMA, "--gpu", "1xA100-80GB", "--rps", "2"]
    told = CliRunner().invoke(app, words).output
    for name in ("Three answers", "highest throughput", "lowest time"):
        assert name in told


# --- P3 to P7: the model analyzer ---


def test_p3_each_operator_has_its_roof(guide: Asked):
    explained = guide("explain", spec())
    for step in ("decodeStep", "promptStep"):
        for one in operators(explained, step).values():
            if one["bytes"] and one["flop"]:
                assert one["flopPerByte"] == pytest.approx(one["flop"] / one["bytes"], rel=1e-3)
            if one["bound"] in ("compute", "memory"):
                longer = max(one["computeSeconds"], one["memorySeconds"])
                assert one[f"{one['bound']}Seconds"] == longer
    assert operators(explained, "decodeStep")["mlp"]["bound"] == "memory"
    assert operators(explained, "promptStep")["mlp"]["bound"] == "compute"


def test_p4_kv_memory_is_two_times_layers_hidden_and_bytes(guide: Asked):
    """And the overhead at batch 1 is that of a request halfway through its answer."""
    asked = spec(budget={"maxGPUs": 1})
    memory = guide("explain", asked)["groups"][0]["memory"]
    assert memory["kvBytesPerToken"] == 2 * LAYERS * HIDDEN * 2
    found = guide("plan", asked)
    alone = found["batchCurve"][0]
    assert alone["maxNumSeqs"] == 1
    held = 512 + 128 / 2
    capacity = group(found)["memory"]["kvCapacityTokens"]
    assert alone["kvPeakShare"] == pytest.approx(held / capacity, rel=0.05)


def test_p5_what_is_left_of_the_memory_holds_so_many_requests(guide: Asked):
    found = group(guide("plan", spec(budget={"maxGPUs": 1})))
    m = found["memory"]
    left = m["gpuGiB"] - sum(m[f"{x}GiBPerGPU"] for x in ("weight", "activation", "reserved"))
    assert m["kvCacheGiBPerGPU"] == pytest.approx(left, abs=0.05)
    whole_blocks = math.ceil((512 + 128) / 16) * 16
    fit = m["kvCapacityTokens"] // whole_blocks
    assert m["maxConcurrentRequests"] == min(fit, found["limits"]["maxNumSeqs"])
    tokens = m["kvCacheGiBPerGPU"] * 2**30 / (2 * LAYERS * HIDDEN * 2)
    assert m["kvCapacityTokens"] == pytest.approx(tokens, rel=0.01)


def test_p6_the_batch_is_clamped_and_cut_into_sub_batches(guide: Asked):
    asked = spec(prompt=300, output=64, load={"offline": {"requests": 5000}})
    cut = guide("explain", asked, "1xRTX4090")["groups"][0]["adjustment"]
    *whole, rest = cut["subBatches"]
    assert cut["batch"] == min(cut["requestedBatch"], cut["maxBatch"]) < 5000
    assert cut["splitSize"] == 2048 // 300  # whole prompts in a step of vLLM's
    assert set(whole) == {cut["splitSize"]}
    assert sum(cut["subBatches"]) == cut["batch"]
    assert rest == (cut["batch"] % cut["splitSize"] or cut["splitSize"])


def test_p7_long_prompts_are_cut_by_the_tuned_base_value(guide: Asked):
    """Whoever asks for speed gets shorter segments, between which answers are written."""
    model = "meta-llama/Llama-3.1-8B-Instruct"
    free = spec(model=model, prompt=4000, output=256, load={"concurrency": 10})
    fast = free | {"preference": "Latency"}
    cuts = [guide("explain", s, "2xL4")["groups"][0]["adjustment"] for s in (free, fast)]
    assert [cut["tuningFactor"] for cut in cuts] == [1, 0.25]
    for cut in cuts:
        budget = cut["segmentBaseTokens"] * cut["tuningFactor"] - cut["decodeSequencesBeside"]
        assert cut["segments"] == math.ceil(4000 / budget)
        assert cut["segments"] * cut["segmentTokens"] == pytest.approx(4000, rel=1e-3)
        assert cut["longestSequenceTokens"] == 4256
    assert cuts[1]["segments"] > cuts[0]["segments"]


# --- P8, P9: optimisations and frameworks ---


def test_p8_switches_change_memory_and_time(guide: Asked):
    one = {"budget": {"maxGPUs": 1}}
    plain = guide("plan", spec(**one))
    evicted = guide("plan", spec(optimizations={"h2oKeepPercent": 20}, **one))
    tokens = [group(a)["memory"]["kvCapacityTokens"] for a in (plain, evicted)]
    assert tokens[1] == pytest.approx(5 * tokens[0], rel=0.01)
    assert any("h2oKeepPercent is 20" in note for note in evicted["notes"])
    naive = guide("plan", spec(optimizations={"flashAttention": False}, **one))
    activations = [group(a)["memory"]["activationGiBPerGPU"] for a in (plain, naive)]
    assert activations[1] > activations[0]
    ttft = [a["best"]["predicted"]["ttftSeconds"]["mean"] for a in (plain, naive)]
    assert ttft[1] > ttft[0]
    fewer = guide("plan", spec(precisionTolerance="INT4", preference="Latency", **one))
    weights = [group(a)["memory"]["weightGiBPerGPU"] for a in (plain, fewer)]
    assert weights[1] < 0.35 * weights[0]


def test_p9_each_framework_schedules_in_its_own_way(guide: Asked):
    both = {name: spec() | {"frameworks": [name]} for name in ("vLLM", "FastGen")}
    told = {name: guide("explain", asked)["groups"][0] for name, asked in both.items()}
    assert told["vLLM"]["frameworkSource"] != told["FastGen"]["frameworkSource"]
    base = {name: one["adjustment"]["segmentBaseTokens"] for name, one in told.items()}
    assert base["FastGen"] == 768  # the fixed budget of Dynamic SplitFuse
    assert base["vLLM"] != base["FastGen"]
    assert told["vLLM"]["memory"]["blockTokens"] == 16  # paged
    anything = spec()
    del anything["frameworks"]
    all_of_them = guide("plan", anything)
    assert {"vLLM", "FastGen"} <= set(all_of_them["engine"]["frameworkVersions"])


# --- P10 to P13: the parallel simulator ---


def on(tp: int) -> tuple[dict[str, Any], str]:
    """A question whose best has that tensor parallelism."""
    return spec(preference="Cost" if tp == 1 else "Latency", budget={"maxGPUs": tp}), "2xA100-80GB"


def test_p10_tensor_parallel_gpus_share_a_task_and_send(guide: Asked):
    alone, pair = (operators(guide("explain", *on(tp)), "promptStep") for tp in (1, 2))
    assert pair["mlp"]["flop"] == pytest.approx(alone["mlp"]["flop"] / 2, rel=0.01)
    assert pair["mlp"]["flop"] > 0
    assert "all-reduce" not in alone
    assert pair["all-reduce"]["networkSeconds"] > 0


def test_p11_compute_memory_and_transfer_have_the_times_of_the_gpu(guide: Asked):
    gpu = CATALOG.gpus["A100-80GB"]
    explained = guide("explain", *on(2))
    for step in ("decodeStep", "promptStep"):
        rows = operators(explained, step)
        for one in rows.values():
            assert one["memorySeconds"] == pytest.approx(
                one["bytes"] / gpu.hbm_bytes_per_s, rel=1e-3, abs=1e-12
            )
        mlp = rows["mlp"]
        assert mlp["computeSeconds"] == pytest.approx(mlp["flop"] / gpu.fp16_flop_per_s, rel=1e-3)
        parts = explained["groups"][0][step]["secondsByPart"]
        whole = explained["groups"][0][step]["seconds"]
        assert sum(parts.values()) == pytest.approx(whole, rel=1e-3)
        assert whole >= max(one["memorySeconds"] for one in rows.values())


SMALL = ("--model", LLAMA, "--requests", "64", "--in", "512", "--out", "64", "--framework", "vLLM")


def test_p12_all_hybrid_layouts_are_compared_and_the_soonest_wins():
    found = batch(*SMALL, "--gpus", "4xA100-80GB", "--prefer", "Latency")
    tried = {
        (g["tp"], g["pp"])
        for g in (
            *(item["groups"][0] for item in (found["best"], *found["alternatives"])),
            *(r["candidate"] for r in found["rejections"] if "tp" in r["candidate"]),
        )
    }
    assert {(1, 1), (2, 1), (4, 1), (1, 2), (2, 2), (1, 4)} <= tried
    times = [i["jobSeconds"]["value"] for i in (found["best"], *found["alternatives"])]
    assert times[0] <= 1.05 * min(times)
    one = batch(*SMALL, "--gpus", "1xA100-80GB")["best"]["jobSeconds"]["value"]
    assert one / 4 * 0.9 < times[0] < one


def test_p13_metrics_of_a_batch_belong_together(tmp_path: Path):
    (one,) = predicted(tmp_path, [static("vllm", "A100-80GB", 16, 512)])
    ttft_s, tpot_s = float(one["pred_ttft_ms"]) / 1e3, float(one["pred_tpot_ms"]) / 1e3
    latency_s, rate = float(one["pred_e2e_s"]), float(one["pred_output_tput_tok_s"])
    assert latency_s == pytest.approx(ttft_s + 255 * tpot_s, rel=0.02)
    assert rate == pytest.approx(16 * 256 / latency_s, rel=0.02)
    assert rate < 16 / tpot_s  # the throughput of decoding alone


# --- P14 to P16: the page, the grid, the errors ---


def test_p14_the_page_asks_and_shows_what_the_paper_s_does():
    with client_of(Settings(nodes_file=NODES, answers_per_minute=1000)) as client:
        form = client.get("/").text
        for field in ("model", "usd", "input", "output", "throughput", "prefer", "precision"):
            assert f'name="{field}"' in form, field
        page = client.get(url(CHAT | {"pool": ["A100-80GB:1:2"]})).text
    for text in ("Top three", "Three answers", "Batch size", "KV cache", "tuning factor"):
        assert text in page


def test_p15_a_cell_has_an_answer_or_its_reason(tmp_path: Path):
    size = ("--requests", "8", "--in", "128", "--out", "256")
    models = ("THUDM/chatglm3-6b", "facebook/opt-6.7b", LLAMA)
    for model, gpu in zip(models, ("A100-80GB", "A6000", "RTX4090"), strict=True):
        found = batch("--model", model, "--gpus", f"1x{gpu}", *size, "--framework", "vLLM")
        assert found["best"]["jobSeconds"]["value"] > 0
    old = static("vllm", "V100-32GB", 8, 128) | {"model": "Qwen/Qwen2-7B"}
    assert float(predicted(tmp_path, [old])[0]["pred_e2e_s"]) > 0
    for model, gpu, framework, why in (
        (LLAMA, "V100-32GB", "FastGen", "compute capability 8.0 or more"),
        ("THUDM/chatglm3-6b", "A100-80GB", "FastGen", "no implementation of ChatGLMModel"),
        (LLAMA, "V100-32GB", "vLLM", "name an image with CUDA 12"),
    ):
        found = batch("--model", model, "--gpus", f"1x{gpu}", *size, "--framework", framework)
        assert found["best"] is None
        assert any(why in r["detail"] for r in found["rejections"])


def test_p16_errors_on_measured_batches_are_below_the_paper_s(tmp_path: Path):
    with DATA.open(encoding="utf-8", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["kind"] == "static_batch" and r["e2e_s"]]
    for framework, several, paper in (("vllm", False, 0.3304), ("fastgen", True, 0.2806)):
        some = [r for r in rows if r["framework"] == framework and (r["tp"] != "1") is several]
        told = predicted(tmp_path, some[:: len(some) // 12])
        errors = [abs(float(r["pred_e2e_s"]) / float(r["e2e_s"]) - 1) for r in told]
        assert mean(errors) < paper
        inside = [
            float(r["pred_e2e_s_lo"]) <= float(r["e2e_s"]) <= float(r["pred_e2e_s_hi"])
            for r in told
        ]
        assert mean(inside) >= 0.75


# --- P17 to P20: the findings ---


def test_p17_the_cache_fills_with_the_batch_until_sequences_are_preempted(guide: Asked):
    asked = spec(prompt=256, output=1000, load={"offline": {"requests": 200}})
    curve = guide("plan", asked, "1xRTX4090")["batchCurve"]
    shares = {p["maxNumSeqs"]: p["kvPeakShare"] for p in curve}
    assert shares[8] == pytest.approx(8 * shares[1], rel=0.01)
    assert shares[12] < 1 == shares[16]  # the cache is full: paged blocks leave no more than one
    queue = guide("explain", asked, "1xRTX4090")["groups"][0]["queueing"]
    assert queue["preemptions"] > 0
    assert queue["meanBatch"] < 16  # whoever is preempted leaves the batch: utilisation drops
    fewer = spec(prompt=256, output=1000, load={"concurrency": 8})
    roomy = guide("explain", fewer, "1xRTX4090")["groups"][0]["queueing"]
    assert roomy["preemptions"] == 0


def test_p18_fastgen_gains_on_vllm_as_the_batch_grows(tmp_path: Path):
    sizes = (1, 8, 32)
    rows = [static(f, "A100-80GB", n, 128) for n in sizes for f in ("fastgen", "vllm")]
    times = [float(r["pred_e2e_s"]) for r in predicted(tmp_path, rows)]
    ratios = [a / b for a, b in zip(times[::2], times[1::2], strict=True)]
    assert ratios[0] > 1 > ratios[2]
    assert all(later < earlier for earlier, later in pairwise(ratios))


def test_p19_a_slow_link_keeps_the_first_token_of_two_gpus_from_its_half(tmp_path: Path):
    cells = [(f, p, tp) for f in ("vllm", "fastgen") for p in (128, 1024) for tp in (1, 2)]
    rows = [static(f, "RTX4090", 8, p, tp) for f, p, tp in cells]
    ttft = dict(
        zip(cells, (float(r["pred_ttft_ms"]) for r in predicted(tmp_path, rows)), strict=True)
    )
    loss = {(f, p): ttft[f, p, 2] - ttft[f, p, 1] / 2 for f, p, _ in cells}
    assert loss["vllm", 1024] > loss["vllm", 128] > 0
    grows = {f: loss[f, 1024] - loss[f, 128] for f in ("vllm", "fastgen")}  # without fixed times
    assert grows["vllm"] > grows["fastgen"]


def test_p20_the_knee_is_found_and_taken(guide: Asked):
    def chosen(prompt: int, gpu: str = "1xA100-80GB") -> int:
        asked = spec(prompt=prompt, output=256, load={"requestsPerSecond": 0.5})
        found = guide("plan", asked, gpu)
        curve = {p["maxNumSeqs"]: p["outputTokensPerSecond"] for p in found["batchCurve"]}
        near = [size for size, rate in curve.items() if 1.05 * rate >= max(curve.values())]
        assert group(found)["limits"]["maxNumSeqs"] == min(near)
        return min(near)

    assert chosen(128) < 256  # which the cache takes and the framework allows
    assert chosen(1024) < chosen(128)
    assert chosen(512, "1xRTX4090") < chosen(512)
