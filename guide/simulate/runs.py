"""What was simulated before, so that nothing is simulated twice."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from guide.domain import ServingReport, Workload


class EngineRun(NamedTuple):
    """What one replica did with so many KV blocks, and whether anything waited for them."""

    kv_blocks: int
    starved: bool  # or a prefix was forgotten for want of them
    report: ServingReport


class Full(NamedTuple):
    """A replica for which more than enough requests wait."""

    starved: bool
    batch_mean: float
    ended_per_s: float


class Runs:
    """Simulations by all that they depend on, so that none is made twice.

    A run in which nothing ever waited for KV blocks is the run of any larger cache as well.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, list[EngineRun]] = {}
        self.full: dict[Hashable, dict[Workload, Full]] = {}  # by replica, then by what it is asked

    def find(self, key: Hashable, kv_blocks: int) -> EngineRun | None:
        """The run of `key` with so many blocks, if one is known."""
        for one in self._known.get(key, ()):
            if one.kv_blocks == kv_blocks or (not one.starved and one.kv_blocks < kv_blocks):
                return one
        return None

    def add(self, key: Hashable, one: EngineRun) -> None:
        """Remember a run."""
        self._known.setdefault(key, []).append(one)
