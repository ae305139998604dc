"""How far a search is, for whoever waits for its end."""

from __future__ import annotations

from collections.abc import Callable

from guide.domain import Evaluation
from guide.record import Record
from guide.search.explore import Ledger, Survey
from guide.search.goal import Goal
from guide.search.rank import rank_key


class Progress(Record, frozen=True, kw_only=True):
    """A search on its way: the best may still be beaten, the limits of `best` are kept."""

    layouts: int  # that may serve, as far as bounds tell
    simulated: int  # deployments
    best: Evaluation | None = None  # None: none so far keeps every limit
    over: bool = False  # the search found nothing, and a change that would help is looked for


Seen = Callable[[Progress], None]


def progress_of(ledger: Ledger, found: Survey, goal: Goal, *, over: bool = False) -> Progress:
    """What a ledger holds so far."""
    return Progress(
        layouts=len(found.prospects),
        simulated=len(ledger.kept) + len(ledger.broken),
        best=min(ledger.kept.values(), key=lambda e: rank_key(e, goal), default=None),
        over=over,
    )
