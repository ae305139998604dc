"""The tutorials that need no cluster, run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tutorial import ROOT, matches, steps, walk

TUTORIALS = ROOT / "docs/tutorials"


@pytest.mark.parametrize("name", ["gitops", "air-gapped", "models", "sweep", "batch", "sglang"])
def test_the_tutorial_does_what_it_says(name: str, tmp_path: Path):
    assert walk((TUTORIALS / f"{name}.md").read_text(encoding="utf-8"), tmp_path) >= 5


@pytest.mark.parametrize(
    ("promised", "printed", "same"),
    [
        ("one\n", "one\n", True),
        ("one\n", "two\n", False),
        ("one\n", "one\ntwo\n", False),
        ("one ... three\n", "one two three\n", True),
        ("one\n...\nthree\n", "one\n2\n2\nthree\n", True),
        ("one\n...\n", "one\n", True),
        ("", "said something\n", False),
        ("", "", True),
    ],
)
def test_promises_are_kept_to_the_letter(promised: str, printed: str, same: bool):
    assert matches(promised, printed) is same


def test_every_tutorial_has_steps_and_its_links_lead_somewhere():
    for path in TUTORIALS.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert list(steps(text)), path
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
