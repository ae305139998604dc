"""docs/decisions.md answers what its questions ask, today."""

from __future__ import annotations

import re

import pytest

from guide.catalog import load
from hack.decisions.__main__ import PAGE, line, question, questions

QUICK = ("chat-8b-h100", "small-1b-t4", "impossible-context")


def cells(name: str) -> list[str]:
    """The row of a question in the page."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    (found,) = [text for text in lines if text.startswith(f"| {name} |")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def deployment(answer: str) -> str:
    """What is run, without the figures that a refit moves."""
    found = re.search(r"\*\*(.+?)\*\*", answer)
    assert found is not None
    return found[1]


def test_every_question_is_answered():
    rows = questions()
    assert len({row["id"] for row in rows}) == len(rows) >= 40
    for row in rows:
        name, asked, answer, why, expert = cells(row["id"])
        assert (name, asked, expert) == (row["id"], question(row), row["expert"])
        assert deployment(answer)
        assert why


@pytest.mark.parametrize("name", QUICK)
def test_answers_are_current(name: str):
    (row,) = [row for row in questions() if row["id"] == name]
    now = line(row, load())
    shown = cells(name)
    assert shown[1] == now[1]
    assert deployment(shown[2]) == deployment(now[2])
