"""What is left out of a fit together: rows at random, and all rows of a version, a model, an
architecture, a GPU, a generation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from guide.domain import FitTable
from guide.measured.case import Case
from guide.measured.dataset import Dataset
from guide.perf.belonging import shape_of
from guide.perf.novelty import LEFT_OUT, gravest, novelties

Bools = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.str_]
ROW_FOLDS = 5
FOLDS = {"model": 12, "gpu": 10, "version": 6, "architecture": 6, "generation": 6}
LEAST_LEFT = 1 / 3  # of the rows of a GPU: below, a network left out is as good as its GPU


def model_of(case: Case) -> str:
    """The network that is left out together, under all its names and precisions."""
    return shape_of(case.model)


def member_of(case: Case, way: str) -> str:
    """What is left out together with a case: its row, or all of its version, model, ..."""
    if way == "row":
        return case.row.id
    if way == "model":
        return model_of(case)
    if way == "architecture":
        return case.model.architecture
    if way == "version":
        return case.key("version")[1]
    return case.gpu.name if way == "gpu" else case.gpu.generation


def folds(dataset: Dataset) -> dict[str, Texts]:
    """Which fold every observation is left out with: rows at random, all else whole.

    A fold holds several models, dealt out by size, so that a dozen refits leave each model out.
    """
    at = dataset.batch.case_of
    return {
        "row": row_folds(dataset),
        **{
            way: _dealt([member_of(case, way) for case in dataset.cases], FOLDS[way])[at]
            for way in LEFT_OUT
        },
    }


def row_folds(dataset: Dataset) -> Texts:
    """The fold of every observation when rows are left out at random."""
    rng = np.random.default_rng(0)
    rows = np.array([str(rng.integers(ROW_FOLDS)) for _ in dataset.cases])
    return rows[dataset.batch.case_of]


def _dealt(names: list[str], folds: int) -> Texts:
    """Deal whole groups into folds, largest first, each into the fold that is smallest so far."""
    sizes = Counter(names)
    filled = [0] * folds
    fold_of: dict[str, str] = {}
    for name, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        smallest = filled.index(min(filled))
        filled[smallest] += size
        fold_of[name] = str(smallest)
    return np.array([fold_of[name] for name in names])


def telling(dataset: Dataset, members: Mapping[str, Texts]) -> dict[str, Bools]:
    """Which observations tell of a way of being new (`members`: their folds): those of which, left
    out so, nothing graver is new, and whose GPU is not left out for the greater part with them.

    A version is left out with most of its models, and a GPU alone in its generation with that.
    """
    at = dataset.batch.case_of
    everywhere = Counter(key for case in dataset.cases for key in case.keys)
    told: dict[str, Bools] = {}
    for way, folded in members.items():
        tells = np.ones(len(dataset.cases), dtype=np.bool_)
        for fold in set(folded.tolist()) if way != "row" else ():
            out: set[int] = set(at[folded == fold].tolist())
            gone = Counter(key for i in out for key in dataset.cases[i].keys)
            outside = FitTable(rows={}, points=everywhere - gone, residuals={})
            for i in out:
                case = dataset.cases[i]
                gpu = case.key("gpu-engine")
                left = 1 - gone[gpu] / everywhere[gpu]
                mostly = way in ("model", "architecture") and left < LEAST_LEFT
                tells[i] = gravest(novelties(outside, case.keys)) == way and not mostly
        told[way] = tells[at]
    return told
