"""The error report: slices, intervals, rank agreement, ratchet."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from guide.catalog import load
from guide.measured.case import Unanswerable, build
from guide.measured.measurements import measurements
from guide.measured.slices import LEFT_OUT, SLICES, LeftOut, errors_of
from hack.accuracy import ratchet, tables
from hack.accuracy.coverage import coverage, fresh_half_widths
from hack.accuracy.plots import scatter
from hack.accuracy.ranking import agreement
from hack.accuracy.winners import duels

DATA = Path(__file__).parents[2] / "accuracy" / "data" / "measurements.csv"
CATALOG = load()
ROWS = [row for row in measurements(DATA) if row.kind == "static_batch"][:60]
POOLS = {left_out: [("group", "e2e")] for left_out in LEFT_OUT}


def observation(number: int, error: float, measured: float = 1.0) -> LeftOut:
    case = build(ROWS[number], CATALOG)
    assert not isinstance(case, Unanswerable)
    errors = dict.fromkeys(("fitted", *LEFT_OUT), error)
    return LeftOut(case=case, metric="e2e", measured=measured, errors=errors, pools=POOLS)


def test_errors_are_relative_to_the_measurement():
    errors = errors_of([math.log(1.1), math.log(0.8), 0.0])
    assert (errors.count, round(errors.mean, 6), round(errors.median, 6)) == (3, 10, 10)
    assert str(errors_of([])) == "–"


def test_slices_do_not_overlap_and_hold_their_rows():
    items = [observation(n, 0.1) for n in range(60)]
    for item in items:
        assert sum(part.holds(item) for part in SLICES) == 1
        assert not any(part.holds(replace(item, metric="tpot")) for part in SLICES)


def test_an_interval_never_comes_from_the_row_itself_or_its_companions():
    items = [observation(n, 0.1) for n in range(40)]
    wild = [_of_another_model(observation(n, 5.0)) for n in range(40, 50)]
    widths = fresh_half_widths([*items, *wild], "model")
    assert {widths[id(item)] for item in wild} == {0.1}
    assert coverage(wild, "model", widths).inside == 0
    widths = fresh_half_widths([*items, *wild], "row")  # each with the nine others of its kind
    assert coverage(wild, "row", widths).inside == 100


def _of_another_model(item: LeftOut) -> LeftOut:
    shape = CATALOG.models[ROWS[0].model]
    model = replace(shape, name="other/model", base=None, vocab=1 + shape.vocab)
    return replace(item, case=replace(item.case, model=model))


def test_the_width_is_that_between_both_ends():
    item = observation(0, 0.1)
    found = coverage([item], "row", {id(item): math.log(2)})
    assert found.width == pytest.approx(150)  # half to twice the prediction


def tau(errors: list[float]) -> float:
    """Three configurations of one load, measured at 1, 2 and 4 s."""
    one = observation(0, 0)
    items = [
        replace(
            one,
            case=replace(one.case, row=replace(one.case.row, tp=2**n)),
            measured=2.0**n,
            errors={"fitted": error},
        )
        for n, error in enumerate(errors)
    ]
    found = agreement(items, "fitted")
    assert (found.groups, found.pairs) == (1, 3)
    return found.tau


def test_rank_agreement_is_kendalls_tau():
    assert tau([0, 0, 0]) == 1
    assert tau([2, 0, -2]) == -1
    assert tau([1, 0, 0]) == pytest.approx(1 / 3)


def test_runs_of_different_loads_are_not_compared():
    found = agreement([observation(n, 0, 1.0 + n) for n in range(3)], "fitted")
    loads = {(ROWS[n].load, ROWS[n].prompt_tokens) for n in range(3)}
    assert len(loads) == 3
    assert found.groups == 0


def bursts(vllm_s: float, sglang_s: float, error: float, longer: float = 1.0) -> list[LeftOut]:
    """The same burst under two frameworks; the prediction errs under the second alone."""
    found: list[LeftOut] = []
    for framework, measured in (("vLLM", vllm_s), ("SGLang", sglang_s)):
        item = observation(0, error if framework == "vLLM" else 0.0, measured)
        prompt = item.case.row.prompt_tokens * (longer if framework == "vLLM" else 1)
        row = replace(item.case.row, kind="burst", framework=framework, prompt_tokens=prompt)
        found.append(replace(item, case=replace(item.case, row=row)))
    return found


@pytest.mark.parametrize(
    ("vllm_s", "error", "right"),
    [
        (20.0, 0.0, 1),
        (20.0, -math.log(4), 0),  # predicted at 5 s: the other would win
        (5.0, 0.0, 1),
        (10.5, 0.0, 0.5),  # nobody wins
        (10.5, -1.0, 0.5),
    ],
)
def test_a_prediction_is_right_where_it_names_the_winner(vllm_s: float, error: float, right: float):
    (duel,) = duels(bursts(vllm_s, 10.0, error))
    assert (duel.first, duel.second) == ("SGLang", "vLLM")
    assert duel.right("fitted") == right
    table = tables.winners(bursts(vllm_s, 10.0, error))
    assert table.rows[0][1:4] == (
        "vLLM / SGLang", f"{vllm_s / 10:.2f}", f"{vllm_s / 10 * math.exp(error):.2f}",
    )  # fmt: skip
    assert table.rows[-1][:4] == ("right", "of 1", "", f"{right:g}")


def test_other_lengths_are_no_duel():
    assert len(duels(bursts(20, 10, 0, longer=1.02))) == 1
    assert duels(bursts(20, 10, 0, longer=1.05)) == []
    one, other = bursts(20, 10, 0)
    assert duels([one, replace(other, exclusion="warm")]) == []
    assert tables.winners([]).rows == ()


COMMITTED = {"slice": {"rows": 10, "mean": 10.0, "median": 5.0}}


def turned(mean: float, median: float) -> list[str]:
    return ratchet.grown(COMMITTED, {"slice": {"rows": 10, "mean": mean, "median": median}})


def test_the_ratchet_holds_each_error_within_two_percent():
    assert turned(10.19, 5.09) == []
    assert turned(9.0, 4.0) == []
    assert turned(10.21, 5.0) == ["slice: mean error grew from 10.0 % to 10.21 %"]
    assert turned(9.0, 5.11) == ["slice: median error grew from 5.0 % to 5.11 %"]
    assert ratchet.grown(COMMITTED, {}) == ["slice: has no rows any more"]


def test_the_ratchet_keeps_the_smaller_of_each_error(tmp_path: Path):
    now = {"slice": {"rows": 12, "mean": 8.0, "median": 5.05}}
    tightened = ratchet.tightened(COMMITTED, now)
    assert tightened == {"slice": {"rows": 12, "mean": 8.0, "median": 5.0}}
    assert ratchet.tightened({}, now) == now
    ratchet.write(tmp_path / "r.yaml", tightened)
    assert ratchet.read(tmp_path / "r.yaml") == tightened
    assert ratchet.read(tmp_path / "none.yaml") == {}


def test_shipped_errors_are_those_of_predict():
    items = ratchet.shipped(ROWS[:5], CATALOG)
    assert {item.case.row.id for item in items} == {row.id for row in ROWS[:5]}
    assert all(abs(item.errors["shipped"]) < 2 for item in items)
    found = ratchet.by_slice(items, "shipped")
    assert sum(errors.count for errors in found.values()) == len(items)


def test_every_table_has_a_cell_for_every_head():
    items = [observation(n, 0.01 * n) for n in range(60)]
    items[7] = replace(items[7], exclusion="a cold start")
    made = [
        tables.targets(items, {}),
        tables.shortfalls(items),
        tables.intervals(items),
        tables.by_kind(items),
        tables.by_gpu(items),
        tables.ranks(items),
        tables.worst(items),
        tables.excluded(items),
        tables.doubts(CATALOG.fits),
        tables.versions(items),
    ]
    for table in made:
        assert all(len(row) == len(table.heads) for row in table.rows), table.title
    assert made[7].rows[0][3] == "a cold start"
    assert made[6].rows[0][0] == items[59].case.row.id


def test_a_plot_is_small_and_the_same_each_time(tmp_path: Path):
    items = [observation(n, 0.01 * n, measured=1.0 + n) for n in range(60)]
    part = next(part for part in SLICES if part.holds(items[0]))
    first = scatter(part, items, tmp_path).read_bytes()
    assert scatter(part, items, tmp_path).read_bytes() == first
    assert first.startswith(b"\x89PNG")
    assert len(first) < 100_000


def test_what_misses_what_is_asked_comes_first():
    good = [observation(n, 0.01) for n in range(30)]
    assert tables.shortfalls(good).rows == ()
    bad = [observation(n, 0.2) for n in range(30)]
    found = tables.shortfalls(bad)
    assert [row[1] for row in found.rows] == [tables.HEADS[left_out] for left_out in LEFT_OUT]
    assert all(float(row[5]) > 1 and row[6] == "100" for row in found.rows)
