"""`guide workload`: a recorded trace as the workload of a plan."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from guide.cli.app import app
from guide.errors import SpecError
from guide.simulate.day import DAY_S, HOUR_S
from guide.simulate.recorded import Recorded, summed_up
from guide.simulate.trace import read_trace
from guide.spec import parse_plan

HEADER = "arrival_s,input_tokens,output_tokens\n"


def lines(*hours: tuple[float, int]) -> str:
    """A trace with so many requests in each of these hours, evenly."""
    rows = (
        f"{hour * HOUR_S + HOUR_S * n / count:.1f},{100 + n},{10 + n}\n"
        for hour, count in hours
        for n in range(count)
    )
    return HEADER + "".join(rows)


def read(text: str, parts: int = 24) -> Recorded:
    return summed_up(read_trace(text.splitlines(keepends=True), "t.csv"), "t.csv", parts)


def test_hours_become_rates_and_lengths_their_mean_and_p95():
    found = read(lines((0, 36), (5, 360), (23, 72)))
    day = found.day.recorded_per_s
    assert [day[hour] for hour in (0, 5, 23)] == pytest.approx([0.01, 0.1, 0.02])
    assert (found.day.low_per_s, found.day.peak_per_s) == pytest.approx((0.0, 0.1))
    assert found.day.mean_per_s * DAY_S == pytest.approx(36 + 360 + 72)
    assert found.prompt.p95_tokens is not None
    assert found.prompt.p95_tokens > found.prompt.mean_tokens > 100


def test_of_several_days_the_busiest_counts():
    found = read(lines((0, 10), (30, 500), (50, 20)))
    assert found.busiest == 2
    assert found.day.recorded_per_s[6] == pytest.approx(500 / HOUR_S)
    assert sum(rate > 0 for rate in found.day.recorded_per_s) == 1


def test_a_few_long_prompts_leave_no_p95():
    many = "".join(f"{n * 60},1,1\n" for n in range(1000))
    found = read(HEADER + many + "60000,1000000,5\n")
    assert found.prompt.p95_tokens is None
    assert found.prompt.mean_tokens > 900


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER, "t.csv holds no request"),
        (lines((0, 5), (3, 5)), "which is no day: record 12 hours or more"),
    ],
)
def test_a_trace_that_is_no_day_is_refused(text: str, said: str):
    with pytest.raises(SpecError, match=said):
        read(text)


def test_what_is_printed_is_the_workload_of_a_plan(tmp_path: Path):
    trace = tmp_path / "t.csv"
    trace.write_text(lines((0, 36), (14, 360)))
    run = CliRunner().invoke(app, ["workload", "--trace", str(trace), "--parts", "48"])
    assert run.exit_code == 0
    assert "counts as one without requests" in run.stderr
    spec = {"model": {"name": "a/b"}, **yaml.safe_load(run.stdout)}
    written = parse_plan(
        {
            "apiVersion": "guide.dev/v1alpha1",
            "kind": "InferencePlan",
            "metadata": {"name": "chat"},
            "spec": spec,
        }
    )
    day = written.spec.workload.day_profile
    assert day is not None
    assert len(day.to_domain().recorded_per_s) == 48
    assert written.spec.workload.to_domain().requests_per_s == pytest.approx(0.1)
