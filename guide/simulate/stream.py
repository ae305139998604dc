"""A replica whose requests come and go, so that only those in flight are held.

The loop is that of `guide.simulate.replica`: it stops where it would need the next arrival and goes
on once it is known, so requests fed in parts end when they would if all were known before.
"""

from __future__ import annotations

from guide.domain import SchedulerPolicy
from guide.perf.fits import ServingParams
from guide.simulate.arrivals import Requests
from guide.simulate.cost import StepCost
from guide.simulate.replica import NEVER, ReplicaLoop
from guide.simulate.times import Times, times_of


class Stream(ReplicaLoop):
    """A replica that is fed in parts."""

    def __init__(
        self,
        policy: SchedulerPolicy,
        cost: StepCost,
        serving: ServingParams,
        *,
        window: int | None = None,
    ) -> None:
        super().__init__(policy, cost, [], [], [], window=window)
        self.serving = serving
        self.turned_away = 0  # requests that can never fit

    def feed(self, more: Requests) -> Times | None:
        """Take requests, later than all before, and serve until the last of them has arrived.

        Returns the times of requests that ended meanwhile, if those are worth clearing away.
        """
        self._grow(more.prompts, more.outputs, more.cached, more.arrivals)
        self.run(more=True)
        # to clear costs time by request held, so half of them must have ended
        return self._cleared() if 2 * self._in_flight() <= len(self.prompt) else None

    def close(self) -> Times | None:
        """Serve every request to its end; returns the times that were not returned before."""
        self.run()
        return self._cleared()

    def _in_flight(self) -> int:
        queued = len(self.waiting) + len(self.partial) + len(self.decoding)
        return queued + self.known - self.next_arrival

    def _cleared(self) -> Times | None:
        """Forget the requests that ended, and number the others anew; the times of those served."""
        gone = set(self.refused)
        ended = [t < NEVER or i in gone for i, t in enumerate(self.finish_s)]
        times = None
        if sum(ended) > len(gone):
            times = times_of(self, self.serving)
        self.turned_away += len(gone)
        self.refused = []
        self._keep([i for i, done in enumerate(ended) if not done])
        return times
