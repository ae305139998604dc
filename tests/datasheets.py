"""When one GPU should never be slower than another, for tests of physics."""

from __future__ import annotations

from guide.domain import Gpu
from guide.models.precision import PRECISIONS
from guide.perf.dominance import at_least, roofs_of


def nowhere_below(better: Gpu, lesser: Gpu, precision: str) -> bool:
    """Whether `better` is of the generation of `lesser` and has all of its roofs."""
    sheets = [roofs_of(gpu, PRECISIONS[precision]) for gpu in (better, lesser)]
    return better.generation == lesser.generation and at_least(*sheets)
