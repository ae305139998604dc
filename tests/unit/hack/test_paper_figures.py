"""The paper's grid and its four findings, as `make paper` draws them: shapes, not numbers."""

from __future__ import annotations

import csv
import math
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import mean

from hack.accuracy import left_out
from hack.accuracy.left_out import WAYS
from hack.paper.cells import (
    CHECKPOINTS,
    FRAMEWORKS,
    GPUS,
    MODELS,
    OUTPUT_TOKENS,
    OWN,
    Cell,
    cell,
    grid,
    write,
)
from hack.paper.errors import Error, table
from hack.paper.findings import transitions
from hack.paper.plots import LLAMA, TASKS, knee

ROOT = Path(__file__).parents[3]
RATIOS = ("latency-ratio", "ttft-ratio", "errors-by-size")  # of what other figures show
FIGURES = ("memory-utilisation", "latency-by-batch", "ttft-by-tp", "best-batch", *RATIOS)
DRAWN = ROOT / "docs" / "paper"


@cache
def one(gpu: str, framework: str, tp: int, batch: int, prompt: int, output: int = 256) -> Cell:
    return cell(gpu, LLAMA, framework, tp, batch, prompt, output)


def test_p15_every_cell_has_an_answer_or_a_reason():
    cells = list(grid())
    assert len(cells) == len(GPUS) * len(MODELS) * len(FRAMEWORKS) * 2 * 4 * 4
    for c in cells:
        assert bool(c.reason) is (c.batch_latency_s is None)
    refused = {(c.framework, c.gpu, c.model) for c in cells if c.reason}
    assert {model for f, gpu, model in refused if f == "FastGen" and gpu == "V100-32GB"} == set(
        MODELS
    )
    assert ("FastGen", "A100-80GB", "THUDM/chatglm3-6b") in refused
    assert not any(framework == "vLLM" for framework, _, _ in refused)


def test_p15_a_model_that_does_not_fit_says_so():
    found = cell("RTX4090", "meta-llama/Llama-2-70b-hf", "vLLM", 2, 4, 128, OUTPUT_TOKENS)
    assert "of weights per GPU" in found.reason


def test_p15_quantised_cells_have_an_answer_where_a_checkpoint_is_published():
    def reasons(model: str, bits: str, gpu: str = "A100-80GB", framework: str = "vLLM") -> str:
        return cell(gpu, model, framework, 1, 4, 128, OUTPUT_TOKENS, bits).reason

    for model, bits in CHECKPOINTS:
        assert not reasons(model, bits)
    assert "no checkpoint in int4" in reasons("THUDM/chatglm3-6b", "int4")
    assert "16-bit checkpoints only" in reasons(LLAMA, "int4", framework="FastGen")
    assert "compute capability 7.5" in reasons(LLAMA, "int8", "V100-32GB")
    own, fewer = (cell("A6000", LLAMA, "vLLM", 1, 4, 128, 256, bits) for bits in (OWN, "int4"))
    assert (fewer.batch_latency_s or 0) < (own.batch_latency_s or 0)


def test_p15_every_answer_says_what_was_measured_of_it():
    assert one("A100-80GB", "vLLM", 1, 4, 128).provenance == "Calibrated"
    assert one("RTX4090", "vLLM", 1, 4, 128).provenance == "Extrapolated"
    assert one("V100-32GB", "FastGen", 1, 4, 128).provenance == ""


def test_p16_the_table_has_the_papers_form():
    class Row:
        framework, tp, pp = "vLLM", 1, 1

    logs = {"row": 0.4}
    errors = [Error(Row(), "TTFT", e, logs) for e in (0.1, 0.2, 0.6)]  # pyright: ignore
    lines = table(errors, "single").splitlines()
    assert (
        lines[4] == "| TTFT | vLLM | 3 | 30.00 (20.00) | 40.00 (40.00) | no measurement | 33.31 |"
    )
    assert "no measurement" in table(errors, "multi").splitlines()[2]


def test_p16_left_out_errors_are_of_the_measured_batches():
    """And above the fitted ones, over all: the fit has not seen these rows."""
    with (ROOT / "tests/accuracy/data/measurements.csv").open(encoding="utf-8", newline="") as file:
        ids = {line["id"] for line in csv.DictReader(file) if line["kind"] == "static_batch"}
    unseen = left_out.read(ROOT / left_out.PATH)
    assert {name for name, _ in unseen} <= ids
    assert len(unseen) > 1000
    errors = {way: mean(abs(math.expm1(e[way])) for e in unseen.values()) for way in WAYS}
    assert 0.02 < errors["row"] < errors["model"] < 0.3


def test_p17_utilisation_drops_once_the_cache_is_full():
    for gpu, framework in (("RTX4090", "vLLM"), ("RTX4090", "FastGen"), ("V100-32GB", "vLLM")):
        line = [one(gpu, framework, 1, n, 1024).memory_share or 0 for n in range(4, 65, 4)]
        assert line[1] > line[0]
        assert any(later < earlier - 0.01 for earlier, later in pairwise(line))
    roomy = [one("A100-80GB", "vLLM", 1, n, 1024).memory_share or 0 for n in range(4, 33, 4)]
    assert all(later > earlier for earlier, later in pairwise(roomy))


def test_p17_nothing_falls_at_the_papers_own_batches():
    steps, falls = transitions(list(grid()))
    assert steps == 600
    assert falls == 0


def test_p18_fastgen_gains_on_vllm_as_the_batch_grows():
    for gpu in ("A100-80GB", "A6000"):
        ratio = [
            (one(gpu, "FastGen", 1, n, 128).batch_latency_s or 0)
            / (one(gpu, "vLLM", 1, n, 128).batch_latency_s or 1)
            for n in (1, 8, 32)
        ]
        assert ratio[0] > ratio[1] > ratio[2]
        assert ratio[2] <= 1


def test_p19_slow_links_keep_tp_two_from_its_half_and_vllm_loses_more():
    def loss(gpu: str, framework: str, prompt: int) -> float:
        alone, pair = (one(gpu, framework, tp, 8, prompt).ttft_s or 0 for tp in (1, 2))
        return pair - alone / 2  # two GPUs without communication

    for gpu in ("A6000", "RTX4090"):
        assert loss(gpu, "vLLM", 1024) > loss(gpu, "vLLM", 128) > 0
        assert loss(gpu, "vLLM", 1024) > loss(gpu, "FastGen", 1024)
    assert loss("A100-80GB", "vLLM", 1024) < loss("A6000", "vLLM", 1024)


def test_p20_the_best_batch_depends_on_task_and_hardware():
    def best(gpu: str, prompt: int, output: int) -> int:
        line = [
            one(gpu, "vLLM", 1, n, prompt, output) for n in (1, 4, 16, 32, 64, 96, 128, 192, 256)
        ]
        found = knee(line)
        assert found is not None
        return found.batch

    by_task = [best("A100-80GB", *task) for task in TASKS]
    assert by_task[0] > by_task[2]
    assert best("RTX4090", *TASKS[0]) < by_task[0]


def test_the_written_folder_is_complete(tmp_path: Path):
    for name in FIGURES:
        assert (DRAWN / f"{name}.png").stat().st_size > 10_000
        assert f"({name}.png)" in (DRAWN / "README.md").read_text(encoding="utf-8")
        if name in RATIOS:
            continue
        text = (DRAWN / f"{name}.csv").read_text(encoding="utf-8")
        assert len(list(csv.DictReader(text.splitlines()))) > 30
    written = tmp_path / "cells.csv"
    write(written, [one("A100-80GB", "vLLM", 1, 4, 128)])
    header = (DRAWN / "grid.csv").read_text(encoding="utf-8").splitlines()[0]
    assert written.read_text(encoding="utf-8").splitlines()[0] == header
