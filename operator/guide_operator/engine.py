"""The engine in worker processes: the event loop only waits, and edits go before routine work.

The queue holds at most one job a plan, since a plan has one task, and goes round its namespaces.
"""

from __future__ import annotations

import asyncio
import itertools
import pickle
import time
import zlib
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from guide.catalog import load
from guide.domain import Catalog, Inventory, Plan, Recommendation, Workload
from guide.errors import ClusterError, TookTooLong
from guide.live.expect import Expected, expect
from guide.live.learn import Corrections, overlay, scoped
from guide.processes import Worker, cpu_deadline
from guide.search.assess import Assessment, Running, assess
from guide.search.recommend import recommend
from guide_operator.pulse import Pulse

T = TypeVar("T")

_MOST_CORRECTED = 8  # catalogues; more than one where namespaces learn for themselves
_MOST_ANSWERS = 100  # remembered

_catalog: Catalog | None = None  # of a worker process
_corrected_by: list[tuple[Corrections, Catalog]] = []  # the last ones, and the catalogue under them


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A recommendation, and what the deployment that runs is worth beside it."""

    recommendation: Recommendation
    running: Assessment | None


@dataclass(frozen=True, slots=True)
class _Packed(Generic[T]):
    """What a worker found, as it is sent and remembered: a tenth of the memory of its objects."""

    content: bytes
    took_s: float

    def unpacked(self) -> T:
        return pickle.loads(zlib.decompress(self.content))


@dataclass(frozen=True)
class _Call(Generic[T]):
    function: Callable[..., T]
    arguments: tuple[Any, ...]
    known: Callable[[], _Packed[T] | TookTooLong | None]  # what was answered before
    keep: Callable[[_Packed[T] | TookTooLong], None]


@dataclass(order=True)
class _Job:
    routine: bool
    round: int  # of its namespace
    number: int
    call: _Call[Any] = field(compare=False)
    done: asyncio.Future[Any] = field(compare=False)


class Engine:
    """Recommendations from a fixed number of processes; start and close it on one event loop."""

    def __init__(
        self,
        workers: int,
        observe: Callable[[float], None],
        gpus: Path | None = None,
        prices: Path | None = None,
        *,
        longest_s: float | None = None,
        by_namespace: bool = False,
    ) -> None:
        """`observe` is told how many seconds each recommendation took.

        `gpus` and `prices` are files of the user for `guide.catalog.load`; `longest_s` is the
        computing that one question may cost; `by_namespace`: corrections hold for the namespace
        alone that they were learnt in.
        """
        self._files = (gpus, prices)
        self._workers = workers
        self._observe = observe
        self._longest_s = longest_s
        self._by_namespace = by_namespace
        self._numbers = itertools.count()
        self._round, self._rounds = 0, dict[str, int]()  # now, and the last of each namespace
        self._waiting: asyncio.PriorityQueue[_Job] = asyncio.PriorityQueue()
        self._tasks: list[asyncio.Task[None]] = []
        self._answers: dict[
            tuple[object, ...], tuple[Inventory, _Packed[Answer] | TookTooLong]
        ] = {}
        self.questions = Pulse()
        self.ledger = Corrections()  # corrections that every answer rests on

    def start(self) -> None:
        """Begin to take work; every process loads the catalogue before it is first needed."""
        for _ in range(self._workers):
            self._tasks.append(asyncio.create_task(self._work(Worker(_begin, *self._files))))

    async def close(self) -> None:
        """Drop waiting work and stop the processes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def answer(
        self,
        plan: Plan,
        inventory: Inventory,
        running: tuple[Running, ...],
        *,
        digest: str,
        routine: bool,
        namespace: str = "",
    ) -> Answer:
        """The recommendation, and the worth of the `running` layout if there is one.

        `digest` names the plan, the pools that it may use and the catalogue. By it an answer is
        remembered, for plans that ask the same and for clusters that return to what they were.
        Routine work waits for what a user has just asked, and namespaces take turns: one with a
        thousand plans does not keep others waiting.
        Raises `TookTooLong`, and `ClusterError` when a process died, for example for want of
        memory: try again.
        """
        key = (digest, *running)

        def known() -> _Packed[Answer] | TookTooLong | None:
            # an answer also lists pools out of reach, of which the digest says nothing
            before = self._answers.get(key)
            return before[1] if before and before[0] == inventory else None

        def keep(found: _Packed[Answer] | TookTooLong) -> None:
            if isinstance(found, _Packed):
                self._observe(found.took_s)
            if len(self._answers) >= _MOST_ANSWERS:
                self._answers.clear()
            self._answers[key] = inventory, found

        arguments = (plan, inventory, running, self.ledger_of(namespace))
        return await self._asked(
            _Call(_answer, arguments, known, keep), routine=routine, namespace=namespace
        )

    def use(self, ledger: Corrections) -> None:
        """Answer by these corrections from now on."""
        self.ledger = ledger
        self._answers.clear()  # a digest may have been made before the change, its answer after it

    def ledger_of(self, namespace: str) -> Corrections:
        """The corrections that hold for the plans of a namespace."""
        return scoped(self.ledger, namespace) if self._by_namespace else self.ledger

    async def expect(
        self,
        plan: Plan,
        inventory: Inventory,
        layout: tuple[Running, ...],
        workload: Workload,
        *,
        namespace: str = "",
    ) -> Expected | None:
        """What `layout` should do under `workload`; None when it is no candidate any more.

        Raises `ClusterError` when a process died or took too long.
        """
        arguments = (plan, inventory, layout, workload, self.ledger_of(namespace))
        call = _Call(_expect, arguments, lambda: None, lambda found: None)
        try:
            return await self._asked(call, routine=True, namespace="")
        except TookTooLong as error:
            raise ClusterError(str(error)) from error

    async def _asked(self, call: _Call[T], *, routine: bool, namespace: str) -> T:
        done = asyncio.get_running_loop().create_future()
        turn = max(self._round, self._rounds.get(namespace, 0) + 1)
        self._rounds[namespace] = turn
        self._waiting.put_nowait(_Job(routine, turn, next(self._numbers), call, done))
        self.questions.begin()
        try:
            found: _Packed[T] | TookTooLong = await done
        finally:
            self.questions.end()
        if isinstance(found, TookTooLong):
            raise found
        return found.unpacked()

    async def _work(self, worker: Worker) -> None:
        try:
            while True:
                job = await self._waiting.get()
                if job.done.cancelled():  # the plan was deleted or edited meanwhile
                    continue
                self._round = max(self._round, job.round)
                if (known := job.call.known()) is not None:
                    job.done.set_result(known)
                    continue
                if not await self._done(job, worker):
                    worker.end()
                    worker = Worker(_begin, *self._files)
        finally:
            worker.end()

    async def _done(self, job: _Job, worker: Worker) -> bool:
        """Whether the worker goes on: it is ended with a job that nobody waits for any more."""
        result = asyncio.wrap_future(
            worker.submit(_limited, self._longest_s, job.call.function, *job.call.arguments)
        )
        await asyncio.wait({result, job.done}, return_when=asyncio.FIRST_COMPLETED)
        if job.done.cancelled():
            result.cancel()
            return False
        error = result.exception()
        if error is None or isinstance(error, TookTooLong):
            found = result.result() if error is None else error
            job.call.keep(found)
            job.done.set_result(found)
        elif isinstance(error, BrokenProcessPool):
            job.done.set_exception(ClusterError("a worker process died while planning"))
        else:
            job.done.set_exception(error)
        return not isinstance(error, BrokenProcessPool)


def _limited(seconds: float | None, function: Callable[..., T], *arguments: Any) -> _Packed[T]:
    began = time.perf_counter()
    with cpu_deadline(seconds):
        found = function(*arguments)
    took_s = time.perf_counter() - began
    return _Packed(zlib.compress(pickle.dumps(found), 1), took_s)


def _begin(gpus: Path | None, prices: Path | None) -> None:
    global _catalog
    _catalog = load(extra_gpus=gpus, prices=prices)


def _corrected(ledger: Corrections) -> Catalog:
    """The same object for the same ledger, since what follows from it is remembered by it."""
    if _catalog is None:
        raise RuntimeError("the worker process has no catalogue")
    for known, catalog in _corrected_by:
        if known == ledger:
            return catalog
    del _corrected_by[: len(_corrected_by) - _MOST_CORRECTED + 1]
    _corrected_by.append((ledger, overlay(_catalog, ledger)))
    return _corrected_by[-1][1]


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
    recommendation = recommend(plan, inventory, catalog)
    assessment = assess(plan, inventory, catalog, running) if running else None
    return Answer(recommendation=recommendation, running=assessment)
