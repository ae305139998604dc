"""What was simulated before, so that nothing is simulated twice."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import NamedTuple

from msgspec.structs import replace

from guide.domain import ServingReport, Workload

MOST = 4096  # replicas under one load each, of some 2 kB; the longest unasked are forgotten


class EngineRun(NamedTuple):
    """What one replica did with so many KV blocks, and whether anything waited for them."""

    kv_blocks: int
    starved: bool  # or a prefix was forgotten for want of them
    report: ServingReport

    def with_blocks(self, kv_blocks: int) -> ServingReport:
        """The report of a cache of so many blocks; of whole ones, so that no digit tells in which
        it was simulated.
        """
        peak = round(self.report.kv_peak_share * self.kv_blocks)
        return replace(self.report, kv_peak_share=peak / kv_blocks)


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
        self._known = lru_cache(MOST)(_no_runs)
        self._full = lru_cache(MOST)(_never_full)

    def find(self, key: Hashable, kv_blocks: int) -> EngineRun | None:
        """The run of `key` with so many blocks, if one is known."""
        for one in self._known(key):
            if one.kv_blocks == kv_blocks or (not one.starved and one.kv_blocks < kv_blocks):
                return one
        return None

    def add(self, key: Hashable, one: EngineRun) -> None:
        """Remember a run."""
        self._known(key).append(one)

    def full(
        self, replica: Hashable, kv_blocks: int, asked: Workload, simulate: Callable[[], Full]
    ) -> Full:
        """A replica with so many blocks for which more than enough of what is asked wait."""
        known = self._full((replica, kv_blocks, asked))
        if not known:
            known.append(simulate())
        return known[0]

    def forget(self) -> None:
        """Forget all of them."""
        self._known.cache_clear()
        self._full.cache_clear()


def _no_runs(_: Hashable) -> list[EngineRun]:
    return []


def _never_full(_: Hashable) -> list[Full]:
    return []


REMEMBERED = Runs()  # by this process: other limits, and loads that share out alike, ask the same
