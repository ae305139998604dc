"""What the page shows of a question at work: how far it is, and the best that was found."""

from __future__ import annotations

from typing import Any

from guide.report.searching import searching
from guide.report.verdict import verdict
from guide.search.progress import Progress
from guide.web.asking import PageQuestion
from guide.web.state import State


def so_far(state: State, asked: PageQuestion, progress: Progress | None) -> dict[str, Any]:
    """What `so_far.html` shows."""
    best = None if progress is None else progress.best
    return {
        "query": state.query,
        "sentence": searching(progress),
        "verdict": verdict(asked.plan, best, rented=asked.rented) if best else None,
    }
