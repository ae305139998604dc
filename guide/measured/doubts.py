"""What is doubtful about a fit: constants that ran into a bound, and too few points."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from guide.measured.dataset import Dataset
from guide.perf.belonging import Key
from guide.perf.fits import ENOUGH_POINTS, NAMES, constants
from guide.perf.trust import at_a_bound

Floats = npt.NDArray[np.float64]


def notes_of(dataset: Dataset, latent: Floats, points: Mapping[Key, int]) -> dict[Key, str]:
    """A note for each GPU under an engine whose numbers deserve a doubt.

    `latent` is (cases, parameters). A constant is at a bound where the median over the cases of the
    GPU is.
    """
    members: dict[Key, list[int]] = {}
    for i, case in enumerate(dataset.cases):
        for key in case.keys:
            if key[0] == "gpu-engine":
                members.setdefault(key, []).append(i)
    notes: dict[Key, str] = {}
    for key, cases in sorted(members.items()):
        kernels = dataset.cases[cases[0]].priced is not None
        bounded = _bounded(latent[cases], kernels)
        said = [f"{name} is at a bound ({value})" for name, value in bounded]
        count = points.get(key, len(cases))
        if count < ENOUGH_POINTS:
            said.append(f"too few points ({count} of {ENOUGH_POINTS})")
        if said:
            notes[key] = "; ".join(said)
    return notes


def _bounded(latent: Floats, kernels: bool) -> list[tuple[str, str]]:
    middle = np.median(latent, axis=0)
    step, serving = constants({name: float(middle[i]) for i, name in enumerate(NAMES)})
    values: dict[str, float] = {**step._asdict(), **serving._asdict()}
    return [(name, f"{values[name]:.3g}") for name in at_a_bound(values, kernels)]
