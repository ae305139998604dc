"""What datasheets ask of a fit: rows that contradict them move something else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from guide.catalog import load
from guide.measured.dataset import compiled
from guide.measured.evaluate import CountedSteps
from guide.measured.measurements import Measurement, parse
from guide.measured.order import Order, order_of
from guide.measured.partial_pooling import Design, design_of, fit

CATALOG = load()
SLOWER = {"H100-SXM": 1.0, "H200": 1.5, "MI300X": 1.0}  # than a line: H200 against its datasheet


def row(gpu: str, batch: int) -> Measurement:
    cells = {
        "id": f"{gpu}-{batch}", "framework": "vllm", "framework_version": "0.6.3",
        "model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": gpu, "tp": "1", "kind": "static_batch",
        "batch_or_concurrency": str(batch), "isl": "512", "osl": "128", "source": "", "licence": "",
        "ttft_ms": "", "tpot_ms": "",
    }  # fmt: skip
    return replace(parse(cells, "here"), tpot_s=SLOWER[gpu] * (0.009 + 2e-5 * batch))


def asked() -> tuple[CountedSteps, Design, Order]:
    rows = [(row(gpu, batch), None) for gpu in SLOWER for batch in (1, 16, 64)]
    batch = compiled(rows, CATALOG).batch
    design = design_of(batch)
    return batch, design, order_of(batch.cases, design.columns)


def test_every_pair_of_measured_gpus_is_asked_for_and_no_other():
    _, _, order = asked()
    sides = (order.better.roofs.bytes_per_s, order.lesser.roofs.bytes_per_s)
    pairs = sorted(zip(*(side.tolist() for side in sides), strict=True))
    h100, h200, mi300x = (CATALOG.gpus[gpu].hbm_bytes_per_s for gpu in SLOWER)
    assert pairs == [(h100, h100), (h200, h100), (h200, h200), (mi300x, mi300x)]


def test_slopes_are_the_derivatives():
    _, design, order = asked()
    rng = np.random.default_rng(0)
    at, step = rng.normal(0, 0.1, len(design.columns)), rng.normal(0, 1e-6, len(design.columns))
    found = order.beyond(at + step) - order.beyond(at)
    np.testing.assert_allclose(found, order.slopes(at) @ step, atol=1e-3 * np.abs(found).max())


def test_a_fit_keeps_the_order_that_its_rows_contradict():
    batch, design, order = asked()
    free = fit(batch, design, iterations=3)
    held = fit(batch, design, order=order, iterations=3)
    assert order.beyond(np.zeros(len(design.columns))).max() <= 0
    assert order.beyond(free).max() > 5  # in units of the slack of 1 %
    assert order.beyond(held).max() < 2


def test_no_gpu_alone_is_out_of_order():
    batch = compiled([(row("H200", 16), None)], CATALOG).batch
    design = design_of(batch)
    order = order_of(batch.cases, design.columns)
    free, held = (fit(batch, design, order=o, iterations=2) for o in (None, order))
    np.testing.assert_allclose(held, free, atol=1e-4)
