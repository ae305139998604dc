"""Pages of figures were made from the inputs of today, or say that they are older."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hack.figures import FIGURES, ROOT, Figure, app

PAGE = "# Numbers\n\n| 1 |\n"


@pytest.fixture
def numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Figure:
    """A figure of a folder of its own, in no repository."""
    (tmp_path / "rows.csv").write_text("1\n")
    (tmp_path / "page.md").write_text(PAGE)
    figure = Figure("numbers", "page.md", ("*.csv",), tmp_path)
    monkeypatch.setitem(FIGURES, "numbers", figure)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "none"))
    return figure


def page(figure: Figure) -> str:
    return (figure.root / figure.page).read_text("utf-8")


def run(*words: str) -> str:
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    return ran.output


@pytest.mark.parametrize("figure", FIGURES.values(), ids=lambda each: each.name)
def test_a_page_tells_of_its_inputs_of_today(figure: Figure):
    assert figure.is_told(), (
        f"inputs of {figure.page} changed: run `make {figure.name}`, or let it say so by "
        f"`python -m hack.figures admit {figure.name}`"
    )


@pytest.mark.parametrize("figure", FIGURES.values(), ids=lambda each: each.name)
def test_each_is_a_target_that_ends_with_its_stamp(figure: Figure):
    recipe = re.search(
        rf"^{figure.name}: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE
    )
    assert recipe is not None
    assert recipe[1].splitlines()[-1] == f"\t$(PY) -m hack.figures stamp {figure.name}"


def test_a_change_of_an_input_is_found_until_the_page_tells_of_it(numbers: Figure):
    assert not numbers.is_told(), "a page without a stamp"
    run("stamp", "numbers")
    assert numbers.is_current()
    assert numbers.is_told()
    first = page(numbers)
    assert first.startswith(PAGE)
    assert "Made at commit unknown, inputs " in first
    assert "numbers" not in run("stale").split()

    (numbers.root / "rows.csv").write_text("2\n")
    assert not numbers.is_told()
    assert "numbers" in run("stale").split()
    run("admit", "numbers")
    assert numbers.is_told()
    assert not numbers.is_current()
    assert "**Out of date.** Made at commit unknown; the inputs changed since" in page(numbers)
    assert "numbers" in run("stale").split()

    (numbers.root / "more.csv").write_text("")
    assert not numbers.is_told(), "what was admitted is one change, not all that follow"
    (numbers.root / "more.csv").unlink()
    (numbers.root / "rows.csv").write_text("1\n")
    run("stamp", "numbers")
    assert page(numbers) == first, "one stamp, in its place"


def test_what_needs_no_excuse_gets_none(numbers: Figure):
    run("stamp", "numbers")
    ran = CliRunner().invoke(app, ["admit", "numbers"])
    assert ran.exit_code == 2
    assert "page.md is current" in ran.output
    assert CliRunner().invoke(app, ["stamp", "weather"]).exit_code == 2


def test_a_pattern_that_fits_nothing_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no file is \*\.csv"):
        Figure("numbers", "page.md", ("*.csv",), tmp_path).digest()
