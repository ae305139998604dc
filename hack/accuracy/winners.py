"""Which framework wins on equal machines: pairs of bursts that differ in the framework alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

from guide.measured.slices import LeftOut

ALIKE = 0.03  # lengths of two runs that count as equal: answers of engines differ by as much
TIE = math.log(1.1)  # runs nearer to each other have no winner
Machine = tuple[str, str, int, float]


@dataclass(frozen=True, slots=True)
class Duel:
    """One pair: log of the time of `second` over that of `first`, measured and predicted."""

    machine: Machine  # checkpoint, GPU, GPUs, requests
    first: str
    second: str
    measured: float
    predicted: dict[str, float]  # by what was left out

    def right(self, left_out: str) -> float:
        """1 where the winner is the measured one, a half where there is none."""
        if abs(self.measured) <= TIE:
            return 0.5
        return float((self.measured > 0) == (self.predicted[left_out] > 0))


def duels(items: Iterable[LeftOut]) -> list[Duel]:
    """Every pair of frameworks that ran the same burst on the same machine, by machine."""
    machines: dict[Machine, list[LeftOut]] = {}
    for item in items:
        row = item.case.row
        if item.metric == "e2e" and row.kind == "burst" and not item.exclusion:
            machine = (row.model, item.case.gpu.name, row.gpus, row.load)
            machines.setdefault(machine, []).append(item)
    return [duel for key in sorted(machines) for duel in _between(key, machines[key])]


def _between(machine: Machine, items: list[LeftOut]) -> Iterator[Duel]:
    """One duel for each pair of frameworks, over the mean of their like runs."""
    names = sorted({item.case.row.framework for item in items})
    for first, second in combinations(names, 2):
        pairs = [
            (one, other)
            for one in items
            for other in items
            if (one.case.row.framework, other.case.row.framework) == (first, second)
            and _alike(one, other)
        ]
        if pairs:
            ratio = [math.log(other.measured / one.measured) for one, other in pairs]
            measured = sum(ratio) / len(pairs)
            wrong = {
                left_out: sum(b.errors[left_out] - a.errors[left_out] for a, b in pairs)
                / len(pairs)
                for left_out in pairs[0][0].errors
            }
            predicted = {left_out: measured + error for left_out, error in wrong.items()}
            yield Duel(machine, first, second, measured, predicted)


def _alike(one: LeftOut, other: LeftOut) -> bool:
    a, b = one.case.row, other.case.row
    if one.case.precision != other.case.precision:
        return False
    lengths = ((a.prompt_tokens, b.prompt_tokens), (a.output_tokens, b.output_tokens))
    return all(abs(x / y - 1) <= ALIKE for x, y in lengths)
