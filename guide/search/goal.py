"""What one search is after: a preference made exact."""

from __future__ import annotations

import math
from enum import StrEnum

from guide.domain import Plan, Preference
from guide.record import Record

KNEE = 1.05  # nobody notices 5 % of a latency that they pay double for
CURVE = (KNEE, 1.25, 1.5, 2.0, 4.0)  # of the fastest: where the trade-off curve has its points


class Aim(StrEnum):
    """What a search minimises first, among the deployments that keep every limit."""

    COST = "cost"  # the bill
    EFFICIENCY = "tokens per dollar"  # the price of the GPUs that work, idle ones left out
    LATENCY = "latency"  # the bill, among those that are about as fast as the fastest
    SPEED = "speed"  # the end-to-end time
    OUTPUT = "output"  # minus the tokens per second that are served
    CAPACITY = "throughput"  # minus the requests per second at which queues would grow


class Goal(Record, frozen=True, kw_only=True):
    """An aim under a plan; for `Aim.LATENCY` with the end-to-end time (s) that is fast enough."""

    plan: Plan
    aim: Aim
    within_s: float = math.inf

    @property
    def fixed(self) -> bool:
        """Whether so many requests wait, however fast they are served: no rate says what is
        ample.
        """
        return self.plan.workload.requests_per_s is None


def goal_of(plan: Plan) -> Goal:
    """What the preference of `plan` means under its load.

    Throughput: an open loop brings the same tokens to every layout, so the one whose GPUs earn most
    wins; a closed loop brings more to a faster one, and a batch ends sooner on it.
    """
    if plan.preference is Preference.COST:
        aim = Aim.COST
    elif plan.preference is Preference.LATENCY:
        aim = Aim.LATENCY
    else:
        aim = Aim.OUTPUT if plan.workload.requests_per_s is None else Aim.EFFICIENCY
    return Goal(plan=plan, aim=aim)
