"""A replica whose requests come and go, so that only those in flight are held.

The loop is that of `guide.simulate.replica`: it stops where it would need the next arrival and goes
on once it is known, so requests fed in parts end when they would if all were known before.
"""

from __future__ import annotations

from collections import deque

from guide.domain import SchedulerPolicy
from guide.perf.fits import ServingParams
from guide.simulate.arrivals import Requests
from guide.simulate.cost import StepCost
from guide.simulate.replica import NEVER, ReplicaLoop
from guide.simulate.times import Times, times_of

PER_REQUEST = (  # the lists of a replica that have one element a request
    *("prompt", "output", "cached", "arrival_s", "start_s", "first_token_s", "finish_s"),
    *("generated", "computed", "blocks"),
)


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
        count = len(more.prompts)
        self.prompt.extend(more.prompts)
        self.output.extend(more.outputs)
        self.cached.extend(more.cached)
        self.arrival_s.extend(more.arrivals)
        for times in (self.start_s, self.first_token_s, self.finish_s):
            times.extend([NEVER] * count)
        for counts in (self.generated, self.computed, self.blocks):
            counts.extend([0] * count)
        self.decoding.grow(count)
        self.known += count
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
            held = Requests(self.prompt, self.output, self.arrival_s, self.cached)
            times = times_of(self, held, self.serving)
        self.turned_away += len(gone)
        self.refused = []
        left = [i for i, done in enumerate(ended) if not done]
        place = {old: new for new, old in enumerate(left)}
        for name in PER_REQUEST:
            values: list[float] = getattr(self, name)
            values[:] = [values[i] for i in left]
        self.waiting = deque(place[i] for i in self.waiting)
        self.partial = deque(place[i] for i in self.partial)
        self.next_arrival = sum(i < self.next_arrival for i in left)
        self.known = len(left)
        self.decoding.renumber(left)
        self.admission.renumber(place)
        return times
