"""Decoding under a steady load, without simulation: what comes flows evenly (Little's law).

As many sequences decode at once as come while one of them does, and each waits for the prompts of
those that come meanwhile. Nothing queues and nothing comes in bursts, so whatever is simulated is
slower: these are lower bounds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import lru_cache
from typing import NamedTuple

from guide.domain import Catalog, MemoryFit, ReplicaGroup, Workload
from guide.perf.adjust import mean_context_tokens, prompt_split_size
from guide.simulate.capacity import computed_tokens, largest_batch, layout_cost, prompt_seconds
from guide.simulate.cost import LayoutCost
from guide.simulate.tasks import Stepping, decode_task, stepping_of, task_seconds


class Fluid(NamedTuple):
    """One replica under a flow of mean requests."""

    cost: LayoutCost
    stepping: Stepping
    prompt_tokens: float  # that are computed
    context_tokens: float  # of a sequence that decodes, on average
    gaps: float  # between the tokens of an answer
    streamed_s: float  # of each token, outside the engine
    largest: int  # sequences at once

    @lru_cache(maxsize=2**14)  # noqa: B019 a tuple: kept for whoever asks the same
    def tpot_s(self, batch: int) -> float:
        """Seconds per output token while `batch` sequences decode; 0: one that meets no other."""
        running = max(1, batch)
        one = decode_task(self.stepping, running, self.context_tokens, 1)
        seconds = task_seconds(one, self.cost) + self.streamed_s
        if not batch:
            return seconds
        together = prompt_split_size(self.stepping.most_tokens, self.prompt_tokens + batch)
        at_once = max(together, self.stepping.at_once)
        prompt_s = prompt_seconds(self.cost, self.stepping, self.prompt_tokens, batch, at_once)
        others = min(batch, self.largest - 1)  # nobody waits for who takes the own place after it
        return seconds + others * prompt_s / self.gaps

    def rate(self, batch: int) -> float:
        """Requests/s at which so many decode at once."""
        return batch / (self.gaps * self.tpot_s(batch))

    def rate_within(self, tpot_s: float) -> float | None:
        """Requests/s above which the mean TPOT is longer than `tpot_s`; None: no rate is too
        high.
        """
        within = bisect_right(range(1, self.largest + 1), tpot_s, key=self.tpot_s)
        if within == self.largest:
            return None
        if not within:
            return self.rate(1)
        low_s, high_s = self.tpot_s(within), self.tpot_s(within + 1)
        batch = within + (tpot_s - low_s) / (high_s - low_s)
        return batch / (self.gaps * tpot_s)

    def tpot_under(self, requests_per_s: float) -> float:
        """The mean TPOT at a rate; beyond what it can serve, that of the largest batch.

        Where requests hardly meet, that of an empty server: the few that do make the mean longer,
        and no percentile.
        """
        below = bisect_left(range(1, self.largest + 1), requests_per_s, key=self.rate)
        low_s = self.tpot_s(below)
        if below in (0, self.largest):
            return low_s
        low, high = self.rate(below), self.rate(below + 1)
        part = (requests_per_s - low) / (high - low)
        return low_s + part * (self.tpot_s(below + 1) - low_s)


def fluid(
    group: ReplicaGroup, memory: MemoryFit, workload: Workload, catalog: Catalog
) -> Fluid | None:
    """`group`'s replica under the requests of `workload`, whatever their rate; None where no fixed
    rate arrives, where what is found in a cache depends on the load, or nothing is decoded.
    """
    gaps = workload.output.mean_tokens - 1
    if workload.requests_per_s is None or workload.prefixes is not None or gaps <= 0:
        return None
    cost, serving = layout_cost(group, catalog)
    return Fluid(
        cost=cost,
        stepping=stepping_of(group),
        prompt_tokens=computed_tokens(workload),
        context_tokens=mean_context_tokens(
            workload.prompt.mean_tokens, workload.output.mean_tokens
        ),
        gaps=gaps,
        streamed_s=serving.u,
        largest=largest_batch(group, memory, workload),
    )
