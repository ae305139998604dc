"""The engine in worker processes: the event loop only waits, and edits go before routine work.

The queue is in order of arrival and holds at most one job a plan, since a plan has one task.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

from guide.catalog import load
from guide.domain import Catalog, Inventory, Plan, Recommendation, Workload
from guide.errors import ClusterError
from guide.live.expect import Expected, expect
from guide.live.learn import Corrections, overlay
from guide.processes import worker_pool
from guide.search.assess import Assessment, Running, assess
from guide.search.recommend import recommend

_MOST_ANSWERS = 100  # remembered; one holds about 100 kB

_catalog: Catalog | None = None  # of a worker process
_corrections: tuple[Corrections, Catalog] | None = None  # the last, and the catalogue under them


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A recommendation, and what the deployment that runs is worth beside it."""

    recommendation: Recommendation
    running: Assessment | None
    took_s: float


@dataclass(order=True)
class _Job:
    routine: bool
    number: int
    plan: Plan = field(compare=False)
    inventory: Inventory = field(compare=False)
    running: tuple[Running, ...] = field(compare=False)
    digest: str = field(compare=False)
    done: asyncio.Future[Answer] = field(compare=False)


class Engine:
    """Recommendations from a fixed number of processes; start and close it on one event loop."""

    def __init__(
        self,
        workers: int,
        observe: Callable[[float], None],
        gpus: Path | None = None,
        prices: Path | None = None,
    ) -> None:
        """`observe` is told how many seconds each recommendation took.

        `gpus` and `prices` are files of the user for `guide.catalog.load`.
        """
        self._files = (gpus, prices)
        self._workers = workers
        self._observe = observe
        self._numbers = itertools.count()
        self._waiting: asyncio.PriorityQueue[_Job] = asyncio.PriorityQueue()
        self._pool = self._new_pool()
        self._tasks: list[asyncio.Task[None]] = []
        self._answers: dict[tuple[object, ...], tuple[Inventory, Answer]] = {}
        self.ledger = Corrections()  # corrections that every answer rests on

    def start(self) -> None:
        """Begin to take work; every process loads the catalogue before it is first needed."""
        for _ in range(self._workers):
            self._pool.submit(_nothing)
            self._tasks.append(asyncio.create_task(self._work()))

    async def close(self) -> None:
        """Drop waiting work and stop the processes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def answer(
        self,
        plan: Plan,
        inventory: Inventory,
        running: tuple[Running, ...],
        *,
        digest: str,
        routine: bool,
    ) -> Answer:
        """The recommendation, and the worth of the `running` layout if there is one.

        `digest` names the plan, the pools that it may use and the catalogue. By it an answer is
        remembered, for plans that ask the same and for clusters that return to what they were.
        Routine work waits for what a user has just asked.
        Raises `ClusterError` when a process died, for example for want of memory: try again.
        """
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        number = next(self._numbers)
        self._waiting.put_nowait(_Job(routine, number, plan, inventory, running, digest, done))
        return await done

    def use(self, ledger: Corrections) -> None:
        """Answer by these corrections from now on."""
        self.ledger = ledger
        self._answers.clear()  # a digest may have been made before the change, its answer after it

    def _remembered(self, job: _Job) -> Answer | None:
        known = self._answers.get((job.digest, *job.running))
        if known is None or known[0] != job.inventory:  # an answer also lists pools out of reach
            return None
        return known[1]

    def _remember(self, job: _Job, answer: Answer) -> None:
        if len(self._answers) >= _MOST_ANSWERS:
            self._answers.clear()
        self._answers[job.digest, *job.running] = job.inventory, answer

    async def expect(
        self, plan: Plan, inventory: Inventory, layout: tuple[Running, ...], workload: Workload
    ) -> Expected | None:
        """What `layout` should do under `workload`; None when it is no candidate any more.

        Raises `ClusterError` when a process died.
        """
        job = (plan, inventory, layout, workload, self.ledger)
        try:
            return await asyncio.wrap_future(self._pool.submit(_expect, *job))
        except BrokenProcessPool:
            raise ClusterError("a worker process died while predicting") from None

    async def _work(self) -> None:
        while True:
            job = await self._waiting.get()
            if job.done.cancelled():  # the plan was deleted meanwhile
                continue
            if (known := self._remembered(job)) is not None:
                job.done.set_result(known)
                continue
            try:
                answer = await asyncio.wrap_future(
                    self._pool.submit(_answer, job.plan, job.inventory, job.running, self.ledger)
                )
            except BrokenProcessPool:
                self._pool = self._new_pool()
                self._fail(job, ClusterError("a worker process died while planning"))
            except Exception as error:
                self._fail(job, error)
            else:
                self._observe(answer.took_s)
                self._remember(job, answer)
                if not job.done.done():
                    job.done.set_result(answer)

    def _fail(self, job: _Job, error: Exception) -> None:
        if not job.done.done():
            job.done.set_exception(error)

    def _new_pool(self) -> ProcessPoolExecutor:
        return worker_pool(self._workers, _begin, *self._files)


def _begin(gpus: Path | None, prices: Path | None) -> None:
    global _catalog
    _catalog = load(extra_gpus=gpus, prices=prices)


def _nothing() -> None:
    """Makes the pool start a process."""


def _corrected(ledger: Corrections) -> Catalog:
    """The same object for the same ledger, since what follows from it is remembered by it."""
    global _corrections
    if _catalog is None:
        raise RuntimeError("the worker process has no catalogue")
    if _corrections is None or _corrections[0] != ledger:
        _corrections = ledger, overlay(_catalog, ledger)
    return _corrections[1]


def _expect(
    plan: Plan,
    inventory: Inventory,
    layout: tuple[Running, ...],
    workload: Workload,
    ledger: Corrections,
) -> Expected | None:
    return expect(plan, inventory, _corrected(ledger), layout, workload)


def _answer(
    plan: Plan, inventory: Inventory, running: tuple[Running, ...], ledger: Corrections
) -> Answer:
    catalog = _corrected(ledger)
    began = time.perf_counter()
    recommendation = recommend(plan, inventory, catalog)
    assessment = assess(plan, inventory, catalog, running) if running else None
    took_s = time.perf_counter() - began
    return Answer(recommendation=recommendation, running=assessment, took_s=took_s)
