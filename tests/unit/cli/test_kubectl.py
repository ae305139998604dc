"""At home in kubectl: names, completion, a second look, signs of life only on a terminal."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

import guide.cli.plan
from guide.cli import completion
from guide.cli.app import app
from guide.cli.progress import shown_when_slow
from guide.errors import SpecError
from tests import toy
from tests.rendered import A100, H100, PLAN, write


@pytest.fixture(autouse=True)
def _toy_engine(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    toy.install(monkeypatch)


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("plan.yaml").write_text(PLAN)
    write("nodes.yaml", [*H100, *A100])
    return tmp_path


def plan(*more: str) -> Result:
    return CliRunner().invoke(app, ["plan", "-f", "plan.yaml", "--nodes", "nodes.yaml", *more])


def test_names_are_those_of_the_objects_to_be(here: Path):
    result = plan("-o", "name")
    assert result.output.splitlines() == [
        "deployment.apps/chat-0",
        "poddisruptionbudget.policy/chat",
        "service/chat",
    ]


def test_wide_tells_more_than_a_table(here: Path):
    table, wide = plan().output, plan("-o", "wide").output
    assert "Pareto front" not in table
    assert "Pareto front" in wide
    assert wide.startswith(table.splitlines()[0])


def test_lists_of_names_are_names(monkeypatch: pytest.MonkeyPatch):
    for command, known in (("gpus", "H100-SXM"), ("models", "meta-llama/Llama-3.1-8B-Instruct")):
        names = CliRunner().invoke(app, [command, "-o", "name"]).output.splitlines()
        assert known in names
        assert len(names) == len(set(names)) > 20


def test_watching_answers_again_when_the_nodes_change(here: Path, monkeypatch: pytest.MonkeyPatch):
    steps = iter(
        [
            lambda: None,  # nothing changed: no answer
            lambda: Path("plan.yaml").write_text("half saved: {"),
            lambda: None,  # still bad: told once
            lambda: Path("plan.yaml").write_text(PLAN),
            lambda: write("nodes.yaml", A100),
        ]
    )

    def wait(_: float) -> None:
        step = next(steps, None)
        if step is None:
            raise KeyboardInterrupt
        step()

    monkeypatch.setattr(guide.cli.plan.time, "sleep", wait)
    result = plan("--watch")
    assert result.output.count("not valid YAML") == 1
    answers = [line for line in result.output.splitlines() if line.startswith("Run ")]
    assert len(answers) == 3
    assert answers[0] == answers[1]
    assert "A100" in answers[2]


def test_stdin_cannot_be_watched(here: Path):
    result = CliRunner().invoke(app, ["plan", "-f", "-", "--watch"], input=PLAN)
    assert isinstance(result.exception, SpecError)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ([""], "plan"),
        (["re"], "render"),
        (["render", "--fo"], "--format"),
        (["render", "--format", "le"], "leaderworkerset"),
        (["check", "--output", "s"], "sarif"),
    ],
)
def test_words_are_completed_for_kubectl(
    words: list[str],
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(sys, "argv", ["kubectl_complete-guide", *words])
    completion.main()
    *found, directive = capsys.readouterr().out.splitlines()
    values = [line.split("\t")[0] for line in found]
    assert value in values
    assert all(each.startswith(words[-1]) for each in values)
    assert directive == ":4"


def test_where_a_file_fits_the_shell_completes_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["kubectl_complete-guide", "plan", "-f", ""])
    completion.main()
    assert capsys.readouterr().out == ":0\n"


@pytest.mark.parametrize(("terminal", "seen"), [(True, True), (False, False)])
def test_slow_work_shows_a_sign_of_life_on_a_terminal_only(
    terminal: bool, seen: bool, monkeypatch: pytest.MonkeyPatch
):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal)
    monkeypatch.setattr("rich.console.Console", lambda **_: console)
    with shown_when_slow("planning", patience_s=0) as say:
        say("3 deployments simulated")
        time.sleep(0.2)
    assert ("planning: 3 deployments simulated" in screen.getvalue()) is seen


def test_quick_work_shows_nothing(monkeypatch: pytest.MonkeyPatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True)
    monkeypatch.setattr("rich.console.Console", lambda **_: console)
    with shown_when_slow("planning"):
        pass
    assert "planning" not in screen.getvalue()
