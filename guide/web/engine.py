"""The engine in processes beside the server, so that one huge question stops nobody else.

A question that computes for longer than `LONGEST_S` is ended. The longest of them search for a
change that would make an infeasible plan feasible among thousands of GPUs.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from typing import TypeVar, TypeVarTuple

from guide.catalog import load
from guide.domain import Catalog, Evaluation, Inventory, Plan, Recommendation
from guide.errors import ClusterError
from guide.insight.load_curve import LoadPoint, latency_over_load
from guide.insight.minute import Timeline, one_minute
from guide.processes import Worker, cpu_deadline, tell
from guide.search.progress import Progress, Seen
from guide.search.recommend import recommend
from guide.web.settings import catalogue_files

WORKERS = 2  # processes, about 100 MB each
LONGEST_S = 20  # of computing, for one question
STUCK_S = 120  # by the clock: what waits so long for a core is given up
WAIT_S = 60  # for a free process
MOST_AT_ONCE = 30  # questions; the server has 40 threads, and the rest are for pages and files
TOLD_EVERY_S = 0.2
_MANY = "many questions are being worked at: ask again in a minute"
Ts = TypeVarTuple("Ts")
T = TypeVar("T")


class Busy(ClusterError):
    """No process became free, or one died: try again."""


@lru_cache(maxsize=1)
def catalog() -> Catalog:
    """The catalogue of this server, loaded once in each process."""
    return load(**catalogue_files())


def answered(plan: Plan, inventory: Inventory, seen: Seen | None = None) -> Recommendation:
    """The recommendation, `seen` on its way; raises `TookTooLong` or `Busy`."""
    return _ask(_answer, plan, inventory, seen=seen)


def drawn(best: Evaluation, plan: Plan) -> tuple[tuple[LoadPoint, ...], tuple[Timeline, ...]]:
    """The curve of a deployment over its load, and a minute of a replica of each group."""
    return _ask(_draw, best, plan)


def start() -> None:
    """Start the processes before somebody waits for them."""
    for _ in range(WORKERS):
        _idle.put(Worker(catalog))


def stop() -> None:
    """End the processes, and what they are working at; none may be asked any more."""
    for worker in tuple(_working):
        worker.end()
    for _ in range(WORKERS):
        _idle.get(timeout=LONGEST_S).end()


# who answered last is asked first: it remembers what the next what-if has in common with that
_idle: queue.LifoQueue[Worker] = queue.LifoQueue()
_working: set[Worker] = set()


_room = threading.BoundedSemaphore(MOST_AT_ONCE)


def _ask(function: Callable[[*Ts], T], *args: *Ts, seen: Seen | None = None) -> T:
    if not _room.acquire(blocking=False):
        raise Busy(_MANY)
    try:
        return _by_a_worker(function, args, seen)
    finally:
        _room.release()


def _by_a_worker(function: Callable[[*Ts], T], args: tuple[*Ts], seen: Seen | None) -> T:
    try:
        worker = _idle.get(timeout=WAIT_S)
    except queue.Empty:
        raise Busy(_MANY) from None
    _working.add(worker)
    try:
        return _worked_at(worker, function, args, seen)
    except TimeoutError:
        worker = _instead_of(worker)
        raise Busy(_MANY) from None
    except BrokenProcessPool:
        worker = _instead_of(worker)
        raise Busy("the process that worked at this question died: ask again") from None
    finally:
        _working.discard(worker)
        _idle.put(worker)


def _worked_at(
    worker: Worker, function: Callable[[*Ts], T], args: tuple[*Ts], seen: Seen | None
) -> T:
    worker.heard()  # what the question before told last
    result = worker.submit(_limited, LONGEST_S, function, args)
    end = time.monotonic() + STUCK_S
    while not result.done() and time.monotonic() < end:
        wait((result,), TOLD_EVERY_S)
        news = worker.heard()
        if seen and isinstance(news, Progress):
            seen(news)
    return result.result(0)


def _limited(seconds: float, function: Callable[[*Ts], T], args: tuple[*Ts]) -> T:
    with cpu_deadline(seconds):
        return function(*args)


def _instead_of(worker: Worker) -> Worker:
    _working.discard(worker)
    worker.end()
    return Worker(catalog)


def _answer(plan: Plan, inventory: Inventory) -> Recommendation:
    return recommend(plan, inventory, catalog(), seen=_Telling())


class _Telling:
    """Tells the server how far a search is, as often as somebody could read it."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        if progress.over or time.monotonic() >= self._next:
            tell(progress)
            self._next = time.monotonic() + TOLD_EVERY_S


def _draw(best: Evaluation, plan: Plan) -> tuple[tuple[LoadPoint, ...], tuple[Timeline, ...]]:
    if plan.workload.offline is not None:  # a job has an end, but no load to vary
        return (), ()
    minutes = tuple(one_minute(item, plan, catalog()) for item in best.groups)
    return latency_over_load(best, plan, catalog()), minutes
