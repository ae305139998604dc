"""Percentiles of a stream, in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Sequence

from fastdigest import TDigest

from guide.domain import Percentiles

CENTROIDS = 1000  # exact up to as many values; within 0.2 % of p50, p95 and p99 beyond


class Latency:
    """A latency that streams by: its percentiles by a t-digest, and how often it keeps its limit.

    Dunning and Ertl, "Computing extremely accurate quantiles using t-digests", 2019.
    """

    def __init__(self, limit_s: float | None = None) -> None:
        self.limit_s = limit_s
        self.count = 0
        self._digest = TDigest(max_centroids=CENTROIDS)
        self._within = 0

    def add(self, values_s: Sequence[float]) -> None:
        """Take more values in."""
        self.count += len(values_s)
        self._digest.batch_update(list(values_s))
        if self.limit_s is not None:
            limit_s = self.limit_s
            self._within += sum(value <= limit_s for value in values_s)

    @property
    def percentiles(self) -> Percentiles:
        """Mean and percentiles in seconds of at least one value."""
        p50, p95, p99 = self._digest.quantile_vec([0.5, 0.95, 0.99])
        return Percentiles(mean_s=self._digest.mean(), p50_s=p50, p95_s=p95, p99_s=p99)

    @property
    def share_within(self) -> float | None:
        """Exact share of the values that keep the limit; None without a limit."""
        return None if self.limit_s is None else self._within / self.count
