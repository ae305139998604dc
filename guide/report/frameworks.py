"""The best deployment of each framework, side by side."""

from __future__ import annotations

from guide.domain import Recommendation
from guide.report.table import Table
from guide.report.tables import deployments

TITLE = "The best of each framework"


def side_by_side(recommendation: Recommendation) -> Table:
    """The best, then the best of each other framework; empty where one framework was asked."""
    r = recommendation
    if r.best is None or not r.rivals:
        return Table(title=TITLE, heads=(), rows=())
    return deployments(TITLE, [r.best, *(one.evaluation for one in r.rivals)])
