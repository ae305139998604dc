"""Replaying measurements: CSV files and their errors, protocols, recordings, predictions."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guide.catalog import load
from guide.domain import Reason
from guide.errors import SpecError
from guide.perf.fits import NAMES, PARAMETERS, constants, latent_centre
from guide.replay.answers import OUTPUTS, predict_csv
from guide.replay.case import Case, Refused, build
from guide.replay.evaluate import batch_of, predict
from guide.replay.lengths import draw
from guide.replay.protocols import LengthRule, Protocol, protocol_of, protocols
from guide.replay.record import METRICS, record
from guide.replay.rows import Measurement, measurements, parse, read_rows
from guide.simulate.replica import NEVER, Replica

CATALOG = load()
DATA = Path(__file__).parents[1] / "accuracy" / "data" / "measurements.csv"
ROW = {
    "id": "a1",
    "source": "nobody",
    "framework": "vllm",
    "framework_version": "0.10.0",
    "model": "meta-llama/Llama-3.1-8B",
    "precision": "bf16",
    "gpu": "H100-SXM",
    "tp": "1",
    "kind": "concurrency",
    "batch_or_concurrency": "8",
    "isl": "500",
    "osl": "100",
    "note": "",
}


def row(**changed: object) -> dict[str, str]:
    return {**ROW, **{name: str(value) for name, value in changed.items()}}


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def error_of(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        list(measurements(path))
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- bad CSV files: one sentence with line and column ---


@pytest.mark.parametrize("column", ["framework", "model", "gpu", "tp", "kind", "isl", "osl"])
def test_a_missing_column_is_named(tmp_path: Path, column: str):
    bare = {name: value for name, value in ROW.items() if name != column}
    message = error_of(write(tmp_path / "m.csv", [bare]))
    assert f"line 1: column '{column}' is missing" in message


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("isl", "many", "'many' is no number"),
        ("isl", "", "above zero"),
        ("isl", "-5", "above zero"),
        ("osl", "0", "above zero"),
        ("osl", "nan", "no finite number"),
        ("batch_or_concurrency", "inf", "no finite number"),
        ("batch_or_concurrency", "1e12", "more than 100,000"),
        ("osl", "1e9", "more than 10,000,000"),
        ("tp", "0", "above zero"),
        ("tp", "1.5", "no whole number"),
        ("ttft_ms", "-1", "never below zero"),
        ("tpot_ms", "fast", "'fast' is no number"),
        ("e2e_s", "-0.5", "never below zero"),
        ("kind", "soak", "'soak' is none of static_batch, burst, concurrency, rate"),
        ("framework", "tgi", "'tgi' is none of vllm, fastgen"),
    ],
)
def test_a_bad_value_names_line_and_column(tmp_path: Path, column: str, value: str, what: str):
    good, bad = row(**{column: ROW.get(column, "")}), row(**{column: value})
    message = error_of(write(tmp_path / "m.csv", [good, good, bad, good]))
    assert f"m.csv line 4, column '{column}'" in message
    assert what in message


def test_lines_are_those_of_the_file(tmp_path: Path):
    """Blank lines and quoted line breaks do not shift the count."""
    path = write(tmp_path / "m.csv", [row(note="two\nlines"), row(isl="x")])
    assert "line 4, column 'isl'" in error_of(path)
    header, first, *_ = write(path, [row(), row()]).read_text().splitlines()
    path.write_text("\n".join([header, "", first, "", first.replace("500", "x")]))
    assert "line 5, column 'isl'" in error_of(path)


def test_another_number_of_columns_is_named(tmp_path: Path):
    path = write(tmp_path / "m.csv", [row(), row()])
    lines = path.read_text().splitlines()
    for broken in (lines[2] + ",more", lines[2].rsplit(",", 1)[0]):
        path.write_text("\n".join([*lines[:2], broken]))
        message = error_of(path)
        assert f"line 3: has another number of columns than the header ({len(ROW)})" in message


def test_a_file_that_is_no_csv_is_one_sentence(tmp_path: Path):
    path = tmp_path / "m.csv"
    path.write_bytes(b"framework,\xff\xfe\x00")
    assert "is not UTF-8 text" in error_of(path)
    path.write_text("")
    assert "column 'framework' is missing" in error_of(path)
    path.write_bytes(bytes(range(1, 127)))
    assert "line 1" in error_of(path)
    good = write(path, [row()]).read_text()
    path.write_text(good + '"never closed')
    assert "is no valid CSV" in error_of(path)
    assert "cannot be read" in error_of(tmp_path / "absent.csv")
    assert "cannot be read" in error_of(tmp_path)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_never_a_traceback(tmp_path_factory: pytest.TempPathFactory, garbage: bytes):
    path = tmp_path_factory.getbasetemp() / "garbage.csv"
    path.write_bytes(garbage)
    with pytest.raises(SpecError, match=r"garbage\.csv"):
        list(measurements(path))


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path):
    text = write(tmp_path / "m.csv", [row()]).read_text()
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_rows(tmp_path / "m.csv")[0] == list(ROW)


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


def simulated(case: Case, replica: Replica) -> dict[str, float]:
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


def compiled(case: Case) -> tuple[dict[str, float], Replica]:
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


# --- refusals and predictions ---


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"gpu": "Abacus"}, Reason.UNKNOWN_GPU),
        ({"model": "nobody/nothing"}, Reason.UNSUPPORTED_MODEL),
        ({"precision": "fp3"}, Reason.UNSUPPORTED_PRECISION),
        ({"tp": 3}, Reason.HEADS_NOT_DIVISIBLE),
    ],
)
def test_a_row_without_an_answer_has_a_reason(changed: dict[str, object], reason: Reason):
    refused = build(parse(row(**changed), "here"), CATALOG)
    assert isinstance(refused, Refused)
    assert refused.reason is reason
    assert str(next(iter(changed.values()))) in refused.detail


def test_predictions_keep_the_file_and_mark_refusals(tmp_path: Path):
    rows = [
        {**row(id="one", kind="static_batch", batch_or_concurrency=4), "extra": "kept, as it is"},
        {**row(id="two", gpu="Abacus"), "extra": ""},
        {**row(id="three", kind="rate", batch_or_concurrency=2), "extra": "ü"},
    ]
    source, target = write(tmp_path / "in.csv", rows), tmp_path / "out.csv"
    seen: list[tuple[int, int]] = []
    answered = predict_csv(source, target, CATALOG, lambda done, total: seen.append((done, total)))
    assert answered == (2, 1)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    with target.open(encoding="utf-8", newline="") as file:
        out = list(csv.DictReader(file))
    assert [{name: r[name] for name in rows[0]} for r in out] == rows
    names = [name for name, _ in OUTPUTS.values()]
    for answer in (out[0], out[2]):
        assert answer["refused"] == ""
        assert answer["provenance"] in ("Calibrated", "Extrapolated")
        for name in names:
            low, value, high = (float(answer[name + end]) for end in ("_lo", "", "_hi"))
            assert 0 < low < value < high
    assert out[1]["refused"] == "UnknownGPU"
    assert all(out[1][name + end] == "" for name in names for end in ("", "_lo", "_hi"))
    assert out[1]["provenance"] == ""


def test_predicting_twice_gives_the_same_bytes_and_columns(tmp_path: Path):
    source = write(tmp_path / "in.csv", [row(batch_or_concurrency=2)])
    predict_csv(source, tmp_path / "one.csv", CATALOG)
    predict_csv(source, tmp_path / "two.csv", CATALOG)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    predict_csv(tmp_path / "one.csv", tmp_path / "again.csv", CATALOG)  # its own output as input
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


def test_an_unwritable_target_fails_before_the_work(tmp_path: Path):
    source = write(tmp_path / "in.csv", [row()])
    with pytest.raises(SpecError, match=r"absent.out\.csv: cannot be written"):
        predict_csv(
            source, tmp_path / "absent" / "out.csv", CATALOG, lambda *_: pytest.fail("worked")
        )


def test_a_bad_row_leaves_no_half_written_predictions(tmp_path: Path):
    source = write(tmp_path / "in.csv", [row(kind="static_batch"), row(isl="x")])
    with pytest.raises(SpecError, match="line 3, column 'isl'"):
        predict_csv(source, tmp_path / "out.csv", CATALOG)
    assert not (tmp_path / "out.csv").exists()


def test_published_rows_are_answered():
    """At most 2 % of the shipped rows may be refused; today none is."""
    rows = list(measurements(DATA))[::7]
    refused = [m for m in rows if isinstance(build(m, CATALOG), Refused)]
    assert len(refused) <= 0.02 * len(rows)
    assert all(isinstance(m, Measurement) for m in rows)
