"""`guide batch`, and what becomes of its answer in every form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from guide.cli.app import app
from guide.spec import parse_plan
from guide.spec.scalars import duration_of, seconds_of

ASKED = ("batch", "--model", "meta-llama/Llama-3.1-8B-Instruct", "--gpus", "4xA100-80GB")
SIZE = ("--requests", "1000", "--in", "512", "--out", "256")


def run(*words: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, [*ASKED, *words])
    return found.exit_code, found.output


def answered(*words: str) -> dict[str, Any]:
    return json.loads(run(*SIZE, *words, "-o", "json")[1])


def test_the_answer_has_a_time_a_bill_and_a_curve():
    code, told = run(*SIZE)
    assert code == 0
    for text in ("for the batch", "Time of the batch", "Batch size", "chosen", "start takes"):
        assert text in told
    found = answered()
    best, curve = found["best"], found["batchCurve"]
    seconds = best["jobSeconds"]["value"]
    assert best["usdPerJob"] == pytest.approx(best["usdPerHour"] * seconds / 3600, abs=1e-4)
    assert best["predicted"]["requestsPerSecond"]["value"] == pytest.approx(1000 / seconds, 1e-3)
    sizes = [point["maxNumSeqs"] for point in curve]
    assert sizes == sorted(set(sizes))
    soonest = min(point["jobSeconds"] for point in curve)
    chosen = best["groups"][0]["limits"]["maxNumSeqs"]
    near = [p["maxNumSeqs"] for p in curve if p["jobSeconds"] <= 1.0205 * soonest]
    assert chosen == min(near)


@pytest.mark.parametrize("preference", ["Cost", "Latency", "Throughput"])
def test_each_preference_is_answered(preference: str):
    assert answered("--prefer", preference)["feasible"]


def test_fastgen_is_compared_and_says_what_it_lacks():
    said = answered("--framework", "FastGen")
    assert said["best"]["groups"][0]["framework"] == "FastGen"
    assert "no official image" in " ".join(said["notes"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--requests", "0"), "spec.workload.offline.requests is 0"),
        (("--requests", "5", "--within", "6x"), "completeWithin"),
        (("--requests", "5", "--within", "0h"), "is no time"),
        (("--requests", "5", "--prefer", "Speed"), "preference"),
    ],
)
def test_bad_input_is_one_sentence(words: tuple[str, ...], sentence: str):
    found = CliRunner().invoke(app, [*ASKED, *words])
    told = f"{found.output}{found.exception}"
    assert found.exit_code != 0
    assert sentence in told


def test_a_deadline_that_nobody_meets_says_what_would():
    code, told = run("--requests", "1000000", "--within", "1h")
    assert code == 3
    assert "spec.workload.offline.completeWithin" in told
    assert "What to add" in told


@pytest.mark.parametrize(
    ("text", "seconds"), [("6h", 21600), ("90m", 5400), ("1h30m", 5400), ("45s", 45)]
)
def test_durations_are_written_as_they_are_read(text: str, seconds: int):
    assert seconds_of(text) == seconds
    assert seconds_of(duration_of(seconds)) == seconds


def test_a_batch_has_no_latency_limits():
    plan: dict[str, Any] = {
        "apiVersion": "guide.dev/v1alpha1",
        "kind": "InferencePlan",
        "metadata": {"name": "nightly"},
        "spec": {
            "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
            "workload": {
                "inputTokens": {"mean": 10},
                "outputTokens": {"mean": 10},
                "offline": {"requests": 5},
            },
            "slo": {"ttftP95Milliseconds": 100},
        },
    }
    with pytest.raises(Exception, match="remove slo"):
        parse_plan(plan)
    del plan["spec"]["slo"]
    assert parse_plan(plan).spec.workload.to_domain().offline == 5
