"""Whether a restart would mend this replica: /healthz. What lies outside of it is no reason.

The event loop answers the probe itself; all other parts say how long they have not come on.
"""

from __future__ import annotations

from collections.abc import Callable

Age = Callable[[], float]  # seconds


class Liveness:
    """The parts that have to go on, by what they are called in a sentence."""

    def __init__(self, stuck_s: float) -> None:
        """`stuck_s`: longer than anything but a fault may take."""
        self._stuck_s = stuck_s
        self._ages: dict[str, Age] = {}

    def expect(self, what: str, age_s: Age) -> None:
        """From now on `what` has to come on."""
        self._ages[what] = age_s

    def problem(self) -> str:
        """One sentence, or nothing while all goes on."""
        for what, age_s in self._ages.items():
            if (seconds := age_s()) > self._stuck_s:
                return f"{what} did not come on for {seconds:.0f} s"
        return ""
