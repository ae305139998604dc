"""What is left out together, and which errors tell of a version alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from guide.catalog import load
from guide.measured.conformal import conformal, half_widths, shrunk
from guide.measured.dataset import Dataset, compiled
from guide.measured.folds import folds, member_of, telling
from guide.measured.measurements import Measurement, measurements

CATALOG = load()
DATA = Path(__file__).parents[2] / "accuracy" / "data" / "measurements.csv"
ROWS = [row for row in measurements(DATA) if row.kind == "static_batch" and row.framework == "vLLM"]


def under(row: Measurement, version: str, times: int = 1) -> list[Measurement]:
    return [replace(row, id=f"{row.id}-{version}-{n}", version=version) for n in range(times)]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """One network on one GPU under two versions; another under the second alone."""
    first = next(row for row in ROWS if row.gpu == "H100-SXM")
    other = next(row for row in ROWS if row.model != first.model and row.gpu == "H100-SXM")
    rows = [*under(first, "0.8.1", 5), *under(first, "0.10.0", 5), *under(other, "0.10.0")]
    return compiled([(row, None) for row in rows], CATALOG)


def test_a_fold_holds_whole_groups(dataset: Dataset):
    for way, members in folds(dataset).items():
        if way == "row":
            continue
        by_group: dict[str, set[str]] = {}
        for at, fold in zip(dataset.batch.case_of.tolist(), members.tolist(), strict=True):
            by_group.setdefault(member_of(dataset.cases[at], way), set()).add(fold)
        assert all(len(seen) == 1 for seen in by_group.values()), way


def test_a_version_is_told_of_where_its_networks_stay(dataset: Dataset):
    told = telling(dataset, folds(dataset))["version"]
    models = [dataset.cases[at].row.model for at in dataset.batch.case_of.tolist()]
    assert told.tolist() == [model == models[0] for model in models]


def test_a_gpu_alone_in_its_generation_tells_of_no_gpu(dataset: Dataset):
    told = telling(dataset, folds(dataset))
    assert told["row"].all()
    assert not told["gpu"].any()


def test_a_network_that_is_most_of_a_gpu_tells_of_none(dataset: Dataset):
    told = telling(dataset, folds(dataset))["model"]
    assert not told[:-1].any()  # ten rows of eleven
    assert told[-1]


def test_errors_that_tell_of_more_widen_nothing(dataset: Dataset):
    one = dataset.cases[0]
    many = compiled([(one.row, None)] * 40, CATALOG)
    errors = {"version": np.where(np.arange(len(many.usable)) % 2, 2.0, 0.1)}
    tells = np.arange(len(many.usable)) % 2 == 0
    all_of_them = np.ones(len(many.usable), dtype=np.bool_)
    assert set(half_widths(many, errors, {"version": tells}).values()) == {0.1}
    assert set(half_widths(many, errors, {"version": all_of_them}).values()) == {2.0}


def test_errors_that_were_left_out_together_count_as_their_root():
    alone = [(0.1 * n, f"m{n}") for n in range(1, 19)]
    together = [(5.0, "all alike")] * 16  # four of 22: more than a tenth
    assert conformal([*alone, *together]) == 5.0
    assert conformal([*alone, *together[:4]]) == 5.0  # two of 20
    assert conformal([*alone, together[0]]) == pytest.approx(1.8)
    scattered = [(5.0, f"n{n}") for n in range(16)]
    assert conformal([*alone, *scattered]) == 5.0


def test_few_members_are_drawn_towards_the_wider_group():
    wide = [(1.0, f"m{n}") for n in range(40)]
    near = shrunk([[(0.1, "one")] * 30, wide])
    nearer = shrunk([[(0.1, f"m{n}") for n in range(30)], wide])
    assert near is not None
    assert nearer is not None
    assert 0.1 < nearer < near < 1.0
    assert shrunk([[(0.1, "one")] * 3, []]) is None
