"""What nobody measured of a case, what stands behind its numbers, and how wide that makes them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guide.domain import FitTable, Provenance
from guide.perf.novelty import LEFT_OUT, combined, novelties, provenance_of, within_reach

KEYS = (
    ("engine", "E"),
    ("generation", "hopper"),
    ("gpu-engine", "H/E"),
    ("precision-gpu", "16-bit/H/E"),
    ("version", "E-1"),
    ("architecture", "Llama/E"),
    ("model", "llama/E"),
    ("model-gpu", "llama/16-bit/H/E"),
)


def points(*without: str, **more: int) -> FitTable:
    rows = {key: 20 for key in KEYS if key[0] not in without}
    return FitTable(
        rows={}, residuals={}, points=rows | {("gpu-engine", k): n for k, n in more.items()}
    )


@pytest.mark.parametrize(
    ("without", "new"),
    [
        ((), ()),
        (("version",), ("version",)),
        (("model-gpu",), ("model",)),
        (("model-gpu", "model"), ("model",)),
        (("model-gpu", "model", "architecture"), ("architecture",)),
        # of a model measured elsewhere a new GPU has no rows either: that is one piece of news
        (("model-gpu", "gpu-engine", "precision-gpu"), ("gpu",)),
        (("model-gpu", "model", "gpu-engine"), ("gpu", "model")),
        (("model-gpu", "precision-gpu"), ("gpu",)),
        (("model-gpu", "generation", "gpu-engine", "precision-gpu"), ("generation",)),
    ],
)
def test_what_is_new_is_what_no_row_has(without: tuple[str, ...], new: tuple[str, ...]):
    assert novelties(points(*without), KEYS) == new


def test_nobody_measured_a_pipeline():
    assert novelties(points(), KEYS, one_batch=False) == ("gpu",)


def test_what_stands_behind_a_number():
    assert provenance_of(points(), KEYS, ()) is Provenance.MEASURED
    assert provenance_of(points("model-gpu"), KEYS, ("model",)) is Provenance.CALIBRATED
    assert provenance_of(points("gpu-engine"), KEYS, ("gpu",)) is Provenance.EXTRAPOLATED


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ((64.0, 1024.0, 512.0), Provenance.MEASURED),
        ((65.0, 1024.0, 512.0), Provenance.CALIBRATED),
        ((64.0, 1025.0, 512.0), Provenance.CALIBRATED),
        ((64.0, 1024.0, 513.0), Provenance.CALIBRATED),
    ],
)
def test_measured_holds_inside_what_was(asked: tuple[float, float, float], found: Provenance):
    assert within_reach(Provenance.MEASURED, (64, 1024, 512), asked) is found
    assert within_reach(Provenance.EXTRAPOLATED, (64, 1024, 512), asked) is Provenance.EXTRAPOLATED


WIDTHS = st.fixed_dictionaries({way: st.floats(0.01, 2) for way in ("row", *LEFT_OUT)})
WAYS = st.lists(st.sampled_from(LEFT_OUT), unique=True)


@given(WIDTHS, WAYS, st.sampled_from(LEFT_OUT))
def test_more_news_never_narrows(widths: dict[str, float], new: list[str], more: str):
    before, after = (
        combined(widths, new),
        combined(widths, [*new, more] if more not in new else new),
    )
    assert before is not None
    assert after is not None
    assert widths["row"] <= before <= after


@given(WIDTHS, st.sampled_from(LEFT_OUT))
def test_one_piece_of_news_is_as_wide_as_its_own_errors(widths: dict[str, float], way: str):
    assert combined(widths, [way]) == pytest.approx(max(widths[way], widths["row"]))


def test_news_that_no_refit_left_out_is_all_of_it():
    widths = dict.fromkeys(LEFT_OUT, 0.5) | {"row": 0.1}
    assert combined(widths, ["engine"]) == pytest.approx(math.sqrt(0.01 + 5 * 0.24))
    assert combined({}, []) is None
