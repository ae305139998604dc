"""`guide sweep`: the study file, what is asked, what is kept, and workers that die."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner, Result

import guide
from guide.cli.app import app
from guide.errors import SpecError
from guide.search.recommend import recommend
from guide.studies.columns import COLUMNS, Row, answer_row, cell
from guide.studies.results import Asked, Results
from guide.studies.run import StudyTask, answers, ask, processes
from guide.studies.study import Point, points, read_study, varied
from tests.studies import CATALOG, INVENTORY, STUDY, deadly, hire_threads, plan, questions, write
from tests.unit.cli.test_cli import PLAN

# --- the study file ------------------------------------------------------------------------------


def test_numbers_in_quotes_are_numbers():
    assert [cell(x) for x in (2, "2.5", "H100", None, ["A"], True)] == [
        *(2.0, 2.5, "H100", None),
        *('["A"]', "true"),
    ]


def test_every_combination_is_asked_once():
    study = read_study(STUDY + "clusters: {a: {nodes: a.yaml}, b: {nodes: b.yaml}}", "study")
    found = [(p.cluster, *p.values.values()) for p in points(study)]
    assert len(found) == len(set(found)) == 2 * 3 * 2
    assert found[:3] == [("a", 2, 1), ("a", 2, 2000), ("a", 4, 1)]


def test_a_study_may_vary_nothing():
    assert list(points(read_study("plan: p.yaml", "study"))) == [Point(cluster=None, values={})]


def test_paths_set_add_and_take_away():
    before = {"spec": {"workload": {"requestsPerSecond": 8, "concurrency": 3}}}
    after = varied(
        before,
        {
            "spec.workload.requestsPerSecond": None,
            "spec.slo.ttftP95Milliseconds": 5,
            "spec.budget": {"maxGPUs": 2},
        },
    )
    assert after == {
        "spec": {
            "workload": {"concurrency": 3},
            "slo": {"ttftP95Milliseconds": 5},
            "budget": {"maxGPUs": 2},
        }
    }
    assert before["spec"]["workload"]["requestsPerSecond"] == 8
    with pytest.raises(SpecError, match="requestsPerSecond has a value and no fields"):
        varied(before, {"spec.workload.requestsPerSecond.more": 1})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("vary: {}", "study: plan is required"),
        ("plan: p\nvary: {slo.ttft: [1]}", "name a field of the plan by its path"),
        ("plan: p\nvary: {spec.slo.x: []}", "study: vary.spec.slo.x"),
        ("plan: p\nvaries: {}", "study: varies is not a field of a study"),
        ("plan: p\nclusters: {a: {pods: p.yaml}}", "study: clusters.a.nodes is required"),
        ("[]", "study must be one YAML mapping"),
        (
            yaml.safe_dump({"plan": "p", "vary": {f"spec.{x}": list(range(1001)) for x in "ab"}}),
            "asks 1,002,001 questions",
        ),
    ],
)
def test_a_bad_study_is_told_in_one_sentence(text: str, sentence: str):
    with pytest.raises(SpecError) as error:
        read_study(text, "study")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


# --- rows ----------------------------------------------------------------------------------------


def test_a_row_says_what_the_engine_says():
    found = recommend(plan(8), INVENTORY, CATALOG)
    assert found.best is not None
    row = answer_row(found)
    names = {column.name for column in COLUMNS}
    assert len(names) == len(COLUMNS)
    assert set(row) < names
    group = found.best.groups[0].group
    assert (row["gpu"], row["tp"], row["replicas"]) == (group.gpu.name, group.tp, group.replicas)
    assert row["ttft_p95_s"] == found.best.predicted.ttft.p95_s
    assert row["ttft_p95_upper_s"] == found.best.predicted.ttft_interval.upper
    assert row["usd_per_h"] == found.best.usd_per_h


def test_an_infeasible_row_has_its_reason_and_what_would_help():
    asked = plan(8)
    found = recommend(replace(asked, slo=replace(asked.slo, ttft_p95_s=0.02)), INVENTORY, CATALOG)
    row = answer_row(found)
    assert row["outcome"] == "Infeasible"
    assert "Nearest miss: SpansNodes, a replica of 16 GPUs" in row["message"]
    assert json.loads(row["reasons"])["MissesTTFT"] > 0
    (offer,) = json.loads(row["relaxations"])
    assert offer["field"] == "spec.slo.ttftP95Milliseconds"


def test_a_worker_with_another_guide_is_refused():
    with pytest.raises(SpecError, match=f"a worker has GUIDE {guide.__version__}, not 0.0.0"):
        ask("0.0.0", b"", b"")


# --- what is kept --------------------------------------------------------------------------------


def asked_of(found: list[StudyTask]) -> list[Asked]:
    return [
        Asked(point=Point(cluster=None, values={"spec.n": n}), question=question)
        for n, question in enumerate(found)
    ]


def test_an_interrupted_sweep_goes_on(tmp_path: Path):
    file, asked = tmp_path / "r.parquet", asked_of(questions(4))
    first = Results(file, asked, CATALOG)
    run = first.run(hire_threads())
    next(run)
    run.close()  # as Ctrl-C does
    assert first.answered == 1
    assert pq.read_table(file).num_rows == 1

    again: list[object] = []
    second = Results(file, asked, CATALOG)
    assert second.taken_over == 1
    assert sum(second.run(hire_threads(again))) == len(again) == 3
    table = pq.read_table(file)
    assert table["spec.n"].to_pylist() == [0, 1, 2, 3]
    assert table["digest"].to_pylist() == ["q0", "q1", "q2", "q3"]
    assert set(table["outcome"].to_pylist()) == {"Feasible"}

    nothing: list[object] = []
    before = second.rows()
    third = Results(file, asked, CATALOG)
    assert list(third.run(hire_threads(nothing))) == []
    assert not nothing
    assert third.rows() == [{**{c.name: None for c in COLUMNS}, **row} for row in before]


def test_a_sweep_that_was_stopped_before_its_first_answer_goes_on(tmp_path: Path):
    file, asked = tmp_path / "r.parquet", asked_of(questions(1))
    Results(file, asked, CATALOG).save()
    again = Results(file, asked, CATALOG)
    assert list(again.run(hire_threads())) == [1]


def test_the_file_names_its_units(tmp_path: Path):
    file = tmp_path / "r.parquet"
    list(Results(file, asked_of(questions(1)), CATALOG).run(hire_threads()))
    schema = pq.read_schema(file)
    assert schema.names == ["spec.n", *(column.name for column in COLUMNS)]
    assert schema.field("usd_per_h").metadata[b"unit"] == b"USD/h"
    assert all(schema.field(c.name).metadata[b"meaning"] == c.meaning.encode() for c in COLUMNS)


def test_equal_questions_are_asked_once(tmp_path: Path):
    (question,) = questions(1)
    seen: list[object] = []
    results = Results(tmp_path / "r.parquet", asked_of([question, question]), CATALOG)
    assert list(results.run(hire_threads(seen))) == [2]
    assert len(seen) == 1
    assert [row["spec.n"] for row in results.rows()] == [0.0, 1.0]


def test_what_failed_is_asked_again(tmp_path: Path):
    file = tmp_path / "r.parquet"
    (good,) = questions(1)
    bad = replace(good, inventory=None)  # pyright: ignore[reportArgumentType]
    results = Results(file, asked_of([bad]), CATALOG)
    list(results.run(hire_threads()))
    (row,) = results.rows()
    assert row["outcome"] == "Failed"
    assert "AttributeError" in row["message"]
    results = Results(file, asked_of([good]), CATALOG)
    assert results.taken_over == 0
    list(results.run(hire_threads()))
    assert results.rows()[0]["outcome"] == "Feasible"


# --- workers -------------------------------------------------------------------------------------


def rows_of(found: list[StudyTask], workers: int) -> dict[str, Row]:
    return {q.digest: row for q, row in answers(found, CATALOG, processes(workers))}


def test_a_question_that_kills_its_workers_costs_no_other():
    five = questions(5)
    rows = rows_of([five[0], deadly(), *five[1:]], workers=2)
    assert rows.pop("deadly")["message"] == "two workers died while answering it"
    assert set(rows) == {q.digest for q in five}
    assert {row["outcome"] for row in rows.values()} == {"Feasible"}


def test_a_killed_worker_is_survived():
    found = answers(questions(12), CATALOG, processes(2))
    done = [next(found)]
    # not the process that keeps track of semaphores, which is a child as well
    workers = [c for c in psutil.Process().children() if "spawn_main" in " ".join(c.cmdline())]
    victim = workers[-1]
    victim.kill()
    done += found
    assert not victim.is_running()
    assert sorted(q.digest for q, _ in done) == sorted(q.digest for q in questions(12))
    assert {row["outcome"] for _, row in done} == {"Feasible"}


def test_two_workers_work_at_the_same_time():
    """Busy time over elapsed time, from the first answer on: free of how fast the machine is."""
    overlap: dict[int, float] = {}
    for workers in (1, 2):
        found = answers(questions(40), CATALOG, processes(workers))
        for _ in range(workers):
            next(found)
        began, busy_s = time.perf_counter(), 0.0
        for _, row in found:
            busy_s += row["took_s"]
        overlap[workers] = busy_s / (time.perf_counter() - began)
    assert overlap[1] <= 1.1
    assert overlap[2] > 1.4 * overlap[1]


def test_workers_end_with_a_sweep_that_is_killed(tmp_path: Path):
    write(tmp_path, STUDY.replace("[2, 4, 8]", str(list(range(1, 200)))))
    command = [sys.executable, "-m", "guide", "sweep", "-f", "study.yaml", "--nodes", "nodes.yaml",
               "--out", "r.parquet", "--workers", "2"]  # fmt: skip
    running = psutil.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    workers: list[psutil.Process] = []
    deadline = time.monotonic() + 60
    while len(workers) < 3 and time.monotonic() < deadline:  # two and the resource tracker
        workers = running.children(recursive=True)
        threading.Event().wait(0.05)
    running.kill()
    running.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert len(workers) >= 2
    assert not alive


# --- the command ---------------------------------------------------------------------------------


def command(folder: Path, *more: str) -> Result:
    arguments = ["sweep", "-f", str(folder / "study.yaml"), "--out", str(folder / "r.parquet")]
    return CliRunner().invoke(app, [*arguments, "--workers", "1", *more])


def test_the_command_writes_rows_and_a_picture(tmp_path: Path):
    write(tmp_path)
    nodes = ["--nodes", str(tmp_path / "nodes.yaml")]
    result = command(tmp_path, *nodes, "--plot", str(tmp_path / "r.svg"))
    assert result.exit_code == 0, result.output
    assert "6 questions: 3 feasible, 3 infeasible. Wrote" in result.output
    rows = pq.read_table(tmp_path / "r.parquet").to_pylist()
    assert [row["outcome"] for row in rows] == ["Infeasible", "Feasible"] * 3
    assert [row["spec.workload.requestsPerSecond"] for row in rows] == [2, 2, 4, 4, 8, 8]
    assert (tmp_path / "r.svg").read_text().startswith("<?xml")
    assert "; 6 known from before" in command(tmp_path, *nodes).output

    prices = (
        "rows: [{gpu: H100-SXM, provider: us, usd_per_gpu_h: 1.5, as_of: 2026-11-01, source: us}]"
    )
    (tmp_path / "prices.yaml").write_text(prices)
    changed = command(tmp_path, *nodes, "--prices", str(tmp_path / "prices.yaml"))
    assert "known from before" not in changed.output, "a changed catalogue asks everything again"
    assert set(pq.read_table(tmp_path / "r.parquet")["usd_per_h"].to_pylist()) == {None, 8 * 1.5}


def test_clusters_of_a_study_are_told_apart(tmp_path: Path):
    write(tmp_path, "plan: plan.yaml\nclusters: {big: {nodes: nodes.yaml}, none: {nodes: no.yaml}}")
    (tmp_path / "no.yaml").write_text("apiVersion: v1\nkind: List\nitems: []\n")
    result = command(tmp_path)
    assert result.exit_code == 0, result.output
    rows = pq.read_table(tmp_path / "r.parquet").to_pylist()
    assert [(row["cluster"], row["outcome"]) for row in rows] == [
        ("big", "Feasible"),
        ("none", "Infeasible"),
    ]


def test_a_value_that_no_plan_may_have_is_a_row(tmp_path: Path):
    write(tmp_path, "plan: plan.yaml\nvary: {spec.model.name: [no/such, Qwen/Qwen3-8B]}")
    result = command(tmp_path, "--nodes", str(tmp_path / "nodes.yaml"))
    assert result.exit_code == 0, result.output
    rows = pq.read_table(tmp_path / "r.parquet").to_pylist()
    assert [row["outcome"] for row in rows] == ["Invalid", "Feasible"]
    assert "no/such is not in the catalogue" in rows[0]["message"]


@pytest.mark.parametrize(
    ("study", "more", "sentence"),
    [
        (STUDY, ["--scheduler", "tcp://127.0.0.1:1"], "--workers is for processes"),
        (
            STUDY.replace("requestsPerSecond", "requestPerSecond"),
            [],
            "requestPerSecond is not a field",
        ),
        (STUDY.replace("plan.yaml", "none.yaml"), [], "cannot read"),
        (STUDY + "clusters: {a: {nodes: nodes.yaml}}", [], "leave --nodes and the like away"),
        ("plan: plan.yaml", ["--plot", "picture.xyz"], "--plot picture.xyz"),
        ("plan: plan.yaml", ["--out", "/no/such/r.parquet"], "cannot write"),
        ("plan: plan.yaml", ["--out", "OWN"], "holds no results of this version of guide sweep"),
    ],
)
def test_bad_input_is_told_in_one_sentence(
    study: str, more: list[str], sentence: str, tmp_path: Path
):
    write(tmp_path, study)
    (tmp_path / "mine.txt").write_text(PLAN)
    more = [str(tmp_path / "mine.txt") if word == "OWN" else word for word in more]
    result = command(tmp_path, "--nodes", str(tmp_path / "nodes.yaml"), *more)
    assert isinstance(result.exception, SpecError)
    assert sentence in str(result.exception)
    assert "\n" not in str(result.exception)
    assert (tmp_path / "mine.txt").read_text() == PLAN
