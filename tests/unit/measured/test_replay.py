"""Replaying measurements: protocols, lengths, and recordings that equal the simulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guide.catalog import load
from guide.measured.case import Case, build
from guide.measured.evaluate import batch_of, predict
from guide.measured.lengths import draw
from guide.measured.measurements import measurements, parse
from guide.measured.protocols import LengthRule, Protocol, protocol_of, protocols
from guide.measured.record import METRICS, record
from guide.perf.fits import NAMES, PARAMETERS, constants, latent_centre
from guide.simulate.replica import NEVER, ReplicaLoop
from tests.measured import row

CATALOG = load()
DATA = Path(__file__).parents[2] / "accuracy" / "data" / "measurements.csv"

# --- protocols and lengths ---


def test_every_published_row_has_a_protocol_of_its_kind():
    defaults = {"offline batch", "closed loop", "open loop", "burst"}
    used: set[str] = set()
    rows = list(measurements(DATA))
    for measured in rows:
        protocol = protocol_of(measured)
        assert protocol.matches(measured)
        used.add(protocol.name)
    assert used - defaults, "only defaults matched"
    assert {measured.kind for measured in rows} == {"static_batch", "burst", "concurrency", "rate"}


@pytest.mark.parametrize("kind", ["static_batch", "burst", "concurrency", "rate"])
def test_an_unknown_source_falls_to_the_default_of_its_kind(kind: str):
    protocol = protocol_of(parse(row(kind=kind), "here"))
    assert protocol.match == {"kind": kind}


def test_protocols_have_unique_names_and_evidence():
    names = [p.name for p in protocols()]
    assert len(names) == len(set(names))
    assert all(p.evidence.strip() for p in protocols())


COUNTS = st.integers(50, 800)


@given(COUNTS, st.integers(1, 9000), st.integers(1, 9000))
def test_fixed_lengths_are_fixed(count: int, prompt: int, output: int):
    prompts, outputs = draw(LengthRule(), prompt, output, count)
    assert set(prompts.tolist()) == {prompt}
    assert set(outputs.tolist()) == {output}


@given(COUNTS, st.integers(50, 9000), st.integers(50, 9000), st.floats(0.1, 0.9))
def test_uniform_lengths_have_the_mean_of_their_range(
    count: int, prompt: int, output: int, low: float
):
    rule = LengthRule(shape="uniform", low=low, high=1.0)
    for sample, nominal in zip(draw(rule, prompt, output, count), (prompt, output), strict=True):
        assert sample.mean() == pytest.approx(nominal * (1 + low) / 2, abs=0.5)
        assert nominal * low - 0.5 <= sample.min() <= sample.max() <= nominal + 0.5


@given(COUNTS, st.floats(20, 900), st.floats(20, 900), st.floats(0.3, 1.4))
def test_lognormal_lengths_have_the_asked_mean(
    count: int, prompt: float, output: float, sigma: float
):
    rule = LengthRule(
        shape="lognormal", sigma_prompt=sigma, sigma_output=sigma / 2, low=4, high=2000
    )
    prompts, outputs = draw(rule, prompt, output, count)
    assert prompts.mean() == pytest.approx(prompt, rel=0.01, abs=0.5)
    assert outputs.mean() == pytest.approx(output, rel=0.01, abs=0.5)
    for sample in (prompts, outputs):
        assert sample.min() >= 4
        assert sample.max() <= 2000


@given(COUNTS, st.floats(20, 550))
def test_stopped_lengths_have_the_asked_mean_and_limit(count: int, output: float):
    rule = LengthRule(shape="stopped", high=600)
    prompts, outputs = draw(rule, 100, output, count)
    assert set(prompts.tolist()) == {100}
    assert outputs.mean() == pytest.approx(output, rel=0.01, abs=0.5)
    assert outputs.max() <= 600


def test_geometric_lengths_stop_by_chance_at_latest_at_the_nominal():
    """E min(T, n) of an exponential T is mean (1 - exp(-n / mean))."""
    rule = LengthRule(shape="geometric", stop_tokens=500)
    _, outputs = draw(rule, 100, 400, 2000)
    assert outputs.mean() == pytest.approx(500 * (1 - np.exp(-400 / 500)), rel=0.01)
    assert outputs.max() == 400


def test_two_draws_are_equal_and_shuffled():
    rule = LengthRule(shape="uniform", low=0.5, high=1.0)
    first, second = draw(rule, 1000, 500, 100), draw(rule, 1000, 500, 100)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert abs(np.corrcoef(*first)[0, 1]) < 0.5  # long prompts do not get the long answers


def test_a_protocol_that_states_too_much_is_refused():
    with pytest.raises(ValueError, match="requestss"):
        Protocol.model_validate({"name": "x", "match": {}, "evidence": "y", "requestss": 3})


# --- recordings: the compiled schedule is the simulation ---

# constants around the engine so small that only forward steps are left
LATENT = {
    q.name: -40.0 if q.name in ("r0", "rt", "rw", "u") else latent_centre(q) for q in PARAMETERS
}


def case_of(**changed: object) -> Case:
    case = build(parse(row(**changed), "here"), CATALOG)
    assert isinstance(case, Case), case
    return case


def simulated(case: Case, replica: ReplicaLoop) -> dict[str, float]:
    """The metrics of a finished run by their definitions, from its requests' times."""
    arrival, first, finish = (
        np.array(x) for x in (replica.arrival_s, replica.first_token_s, replica.finish_s)
    )
    served = first < NEVER
    arrival, first, finish = arrival[served], first[served], finish[served]
    outputs = np.array(case.load.outputs)[served]
    if case.row.kind == "static_batch":
        ttft_s, end_s = float(first.max()), float(finish.max())
        return {"ttft": ttft_s, "tpot": (end_s - ttft_s) / (outputs.max() - 1), "e2e": end_s}
    several = outputs > 1
    tpot = (finish - first)[several] / (outputs[several] - 1)
    loop = case.row.kind in ("concurrency", "rate")
    statistic = np.median if case.protocol.statistic == "median" else np.mean
    return {
        "ttft": float(statistic(first - arrival)),
        "tpot": float(statistic(tpot)),
        "e2e": float((finish - arrival).mean() if loop else finish.max()),
    }


def compiled(case: Case) -> tuple[dict[str, float], ReplicaLoop]:
    step, _ = constants(LATENT)
    recording = record(case, step)
    table = np.array([[LATENT[name] for name in NAMES]])
    seconds = predict(batch_of([case], [recording]), table)[0]
    return dict(zip(METRICS, seconds.tolist(), strict=True)), recording.replica


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "static_batch", "batch_or_concurrency": 32},
        {"kind": "static_batch", "batch_or_concurrency": 200, "framework_version": "0.6.3"},
        {"kind": "static_batch", "batch_or_concurrency": 32, "framework": "fastgen",
         "framework_version": "", "source": "", "model": "meta-llama/Llama-2-7b-hf"},
        {"kind": "burst", "batch_or_concurrency": 300},
        {"kind": "burst", "batch_or_concurrency": 300, "note": "kv blocks 900"},
        {"kind": "concurrency", "batch_or_concurrency": 1},
        {"kind": "concurrency", "batch_or_concurrency": 64, "isl": 4000, "osl": 300},
        {"kind": "concurrency", "batch_or_concurrency": 32, "framework_version": "0.6.3"},
        {"kind": "rate", "batch_or_concurrency": 4},
        {"kind": "rate", "batch_or_concurrency": 25},
        {"kind": "concurrency", "batch_or_concurrency": 64, "model": "openai/gpt-oss-20b",
         "precision": "mxfp4"},
        {"kind": "burst", "batch_or_concurrency": 100, "model": "mistralai/Mixtral-8x7B-v0.1",
         "tp": 4},
    ],
)  # fmt: skip
def test_a_recording_says_what_was_simulated(changed: dict[str, object]):
    """At the constants it was recorded with, to 2 % (shapes of nearly equal size are merged)."""
    case = case_of(**changed)
    found, replica = compiled(case)
    assert not replica.refused
    cold_s = case.protocol.cold_start_s
    expected = simulated(case, replica)
    expected = {m: s + cold_s * (m != "tpot") for m, s in expected.items()}
    assert found == pytest.approx(expected, rel=0.02)


def test_a_median_is_the_middle_of_the_requests():
    """Read as the mean of the middle fifth, which a sum can hold."""
    case = case_of(kind="rate", batch_or_concurrency=4)
    median = replace(case, protocol=case.protocol.model_copy(update={"statistic": "median"}))
    lengths = LengthRule(shape="lognormal", sigma_prompt=1.0, sigma_output=1.0, low=4, high=4000)
    prompts, outputs = draw(lengths, 500, 100, len(case.load.prompts))
    load_ = replace(case.load, prompts=tuple(prompts.tolist()), outputs=tuple(outputs.tolist()))
    median = replace(median, load=load_)
    found, replica = compiled(median)
    expected = simulated(median, replica)
    assert found["ttft"] == pytest.approx(expected["ttft"], rel=0.05)
    assert found["tpot"] == pytest.approx(expected["tpot"], rel=0.05)
    mean = simulated(replace(median, protocol=case.protocol), replica)
    assert abs(mean["ttft"] / expected["ttft"] - 1) > 0.1  # the two statistics really differ


def test_requests_that_never_fit_are_left_out_without_a_warning():
    """Warnings are errors here: infinite times may not reach the statistics."""
    case = case_of(kind="concurrency", batch_or_concurrency=4)
    prompts = (10_000, *case.load.prompts[1:])
    pool = replace(case.policy, kv_blocks=300)
    found, replica = compiled(replace(case, policy=pool, load=replace(case.load, prompts=prompts)))
    assert replica.refused == [0]
    assert all(0 < seconds < 1e3 for seconds in found.values())


def test_the_noted_cache_presses_and_preempts():
    free = compiled(case_of(kind="burst", batch_or_concurrency=300))[1]
    pressed = compiled(case_of(kind="burst", batch_or_concurrency=300, note="kv blocks 900"))[1]
    assert not free.preemptions
    assert pressed.preemptions
    assert pressed.policy.kv_blocks == 900
