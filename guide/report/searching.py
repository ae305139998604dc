"""How far a search is, in a sentence for whoever waits (pure)."""

from __future__ import annotations

from guide.search.progress import Progress
from guide.units import format_count


def searching(progress: Progress | None) -> str:
    """What has been done of a question at work; None: nothing is known yet."""
    if progress is None:
        return "Working out which layouts may serve this."
    tried = _counted(progress.simulated, "deployment")
    if progress.over:
        return f"{tried} simulated, and none keeps every limit: looking for a change that would."
    return f"{tried} simulated so far, of {_counted(progress.layouts, 'layout')} that may serve."


def _counted(number: int, thing: str) -> str:
    return f"{format_count(number)} {thing}{'' if number == 1 else 's'}"
