"""Colours of the page that people with weak eyes rely on (WCAG 2.2, 1.4.11)."""

from __future__ import annotations

import re

import pytest

from tests.web_questions import ROOT

CSS = (ROOT / "guide/web/static/guide.css").read_text()
LIGHT, DARK = (
    dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", block))
    for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
)


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, {**LIGHT, **DARK}], ids=["light", "dark"])
def test_the_ring_of_the_focus_stands_out_three_to_one(colours: dict[str, str]):
    bar = re.search(r"\.top \{ --focus: (#[0-9a-f]+)", CSS)
    assert bar
    assert contrast(bar.group(1), colours["bar"]) >= 3
    for ground in ("back", "panel", "field", "light"):
        assert contrast(colours["focus"], colours[ground]) >= 3, ground


@pytest.mark.parametrize("colours", [LIGHT, {**LIGHT, **DARK}], ids=["light", "dark"])
def test_the_edge_of_a_field_stands_out_three_to_one(colours: dict[str, str]):
    assert contrast(colours["edge"], colours["field"]) >= 3
