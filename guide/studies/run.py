"""Questions answered by processes of this machine or by a Dask cluster.

Both are a `concurrent.futures.Executor` and do the scheduling. What is done here is to find out
which question a dead worker was busy with, so that the others are answered.
"""

from __future__ import annotations

import importlib
import pickle
import time
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import guide
from guide.domain import Catalog, Inventory, Plan
from guide.errors import ClusterError, SpecError
from guide.processes import worker_pool
from guide.record import Record
from guide.search.recommend import recommend
from guide.studies.columns import Outcome, Row, answer_row, reason_row

AHEAD = 2  # questions for each thread of a Dask cluster, so that none waits for the next
CONNECT_S = 10


class StudyTask(Record, frozen=True, kw_only=True):
    """What `recommend` is asked; equal digests, equal answers."""

    digest: str
    plan: Plan
    inventory: Inventory


class Crew(NamedTuple):
    """Those who answer, and how many questions they can take at this moment."""

    executor: Executor
    width: Callable[[], int]


Hire = Callable[[], AbstractContextManager[Crew]]


def processes(workers: int) -> Hire:
    """Processes of this machine, with one question each."""

    @contextmanager
    def hire() -> Generator[Crew]:
        pool = worker_pool(workers)
        try:
            yield Crew(pool, lambda: workers)
        finally:
            pool.shutdown(cancel_futures=True)

    return hire


def dask_cluster(address: str) -> Hire:
    """The workers of the Dask scheduler at `address`; `ClusterError` where none answers."""
    # before the first import: what it logs of a lost scheduler is told in one sentence
    levels = {"distributed": "critical", "distributed.client": "critical"}
    dask: Any = importlib.import_module("dask")
    dask.config.set({"logging": levels})
    distributed: Any = importlib.import_module("distributed")

    @contextmanager
    def hire() -> Generator[Crew]:
        try:
            client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterError(f"no Dask scheduler answers at {address}: {error}") from None

        def width() -> int:
            try:
                return AHEAD * max(1, sum(client.nthreads().values()))
            except OSError:
                raise _lost() from None

        with client:
            yield Crew(client.get_executor(), width)

    return hire


def _lost() -> ClusterError:
    return ClusterError(
        "the scheduler is lost; what was answered is kept: run the same command to go on"
    )


def answers(
    questions: Sequence[StudyTask], catalog: Catalog, hire: Hire
) -> Iterator[tuple[StudyTask, Row]]:
    """The row of each question, in the order in which answers come.

    A question whose worker died is asked once more, alone; if that worker dies too, the row says
    so. Raises `SpecError` where workers run another GUIDE, `ClusterError` when a scheduler is lost.
    """
    facts = zlib.compress(pickle.dumps(catalog))
    waiting = deque(questions)
    while waiting:
        suspects = yield from _served(waiting, facts, hire, alone=False)
        for one in suspects:
            if (yield from _served(deque([one]), facts, hire, alone=True)):
                yield one, reason_row(Outcome.FAILED, "two workers died while answering it")


def _served(
    waiting: deque[StudyTask], facts: bytes, hire: Hire, *, alone: bool
) -> Generator[tuple[StudyTask, Row], None, list[StudyTask]]:
    """Answer all that waits; ends early when a process died, with what was being answered then."""
    flying: dict[Future[Row], StudyTask] = {}
    with hire() as crew:
        while waiting or flying:
            width = 1 if alone else crew.width()
            try:
                while waiting and len(flying) < width:
                    payload = pickle.dumps((waiting[0].plan, waiting[0].inventory))
                    future = crew.executor.submit(ask, guide.__version__, facts, payload)
                    flying[future] = waiting.popleft()
            except BrokenProcessPool:
                return [*flying.values(), waiting.popleft()]
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                try:
                    row = _row(future)
                except BrokenProcessPool:
                    return list(flying.values())
                yield flying.pop(future), row
    return []


def _row(future: Future[Row]) -> Row:
    try:
        return future.result()
    except (BrokenProcessPool, SpecError):
        raise
    except ImportError as error:
        raise SpecError(
            f"the workers have no GUIDE {guide.__version__} ({error}): install it there"
        ) from None
    except CancelledError:
        raise _lost() from None
    except Exception as error:  # of the executor: Dask has given the question up
        return reason_row(Outcome.FAILED, f"{type(error).__name__}: {error}")


def ask(version: str, facts: bytes, payload: bytes) -> Row:
    """Answer one question, in the process of a worker."""
    if version != guide.__version__:
        raise SpecError(
            f"a worker has GUIDE {guide.__version__}, not {version}: install the same version there"
        )
    catalog = _catalog(facts)
    plan, inventory = pickle.loads(payload)
    began = time.perf_counter()
    try:
        row = answer_row(recommend(plan, inventory, catalog))
    except SpecError as error:
        row = reason_row(Outcome.INVALID, str(error))
    except Exception as error:  # a bug in GUIDE costs this question and no other
        row = reason_row(Outcome.FAILED, f"{type(error).__name__}: {error}")
    took_s = time.perf_counter() - began
    return row | {
        "took_s": took_s,
        "guide_version": version,
        "catalog_digest": catalog.digest,
    }


@lru_cache(maxsize=1)
def _catalog(facts: bytes) -> Catalog:
    """One object a process, since fits are remembered by catalogue."""
    return pickle.loads(zlib.decompress(facts))
