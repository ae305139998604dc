"""Processes that work for another one, and the time that a question may take of one."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import FrameType
from typing import ParamSpec, TypeVar

from guide.errors import TookTooLong
from guide.garbage import look_rarely

_AGAIN_S = 0.25  # of CPU, until a question is over that has used its time

P = ParamSpec("P")
T = TypeVar("T")


@contextlib.contextmanager
def cpu_deadline(seconds: float | None) -> Generator[None]:
    """End what is inside by `TookTooLong` once this process has used so many seconds of CPU.

    Waiting costs nothing, so that a busy machine refuses no question. For the main thread alone;
    None is no limit. Where the system has no such timer, nothing is ended.
    """
    if seconds is None or not hasattr(signal, "setitimer"):
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise TookTooLong(
            f"this question takes more than {seconds:g} seconds of computing: ask for fewer GPUs "
            "or pools, shorter prompts and answers, or loosen a limit"
        )

    before = signal.signal(signal.SIGPROF, end)
    # again and again: raised in a finalizer, an error is lost
    signal.setitimer(signal.ITIMER_PROF, seconds, _AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


class Worker:
    """One process, which can be ended with what it works at.

    The pools of the standard library cannot end a task, but a pool of one can be ended with it.
    """

    def __init__(self, begin: Callable[..., object] | None = None, *arguments: object) -> None:
        """Start it; it calls `begin` before its first task."""
        self._ending = threading.Lock()
        self._told, teller = multiprocessing.Pipe(duplex=False)
        self._pool = worker_pool(1, _begin_to_tell, teller, begin, arguments)
        self._pid = self._pool.submit(os.getpid)
        teller.close()  # the process has its own end

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Its result to come; `BrokenProcessPool` when the process died."""
        return self._pool.submit(function, *args, **kwargs)

    def heard(self) -> object | None:
        """The latest that the process has told since this was asked last, None for nothing. Ask
        often: who is not heard has to wait.
        """
        latest = None
        with contextlib.suppress(EOFError, OSError):
            while self._told.poll():
                latest = self._told.recv()
        return latest

    def end(self) -> None:
        """End the process at once; it may be ended again, by several threads at a time."""
        with self._ending:  # two that shut a pool down close its pipes twice
            with contextlib.suppress(ProcessLookupError, BrokenProcessPool):
                os.kill(self._pid.result(), signal.SIGKILL)
            # the thread that looks after a dead process ends in no time; left alone, it closes its
            # pipe while an interpreter that exits writes to it (bad file descriptor, at shutdown)
            self._pool.shutdown(wait=True)


def tell(news: object) -> None:
    """Tell the parent, which hears it by `Worker.heard`; nothing outside of a worker."""
    for teller in _tellers:
        teller.send(news)


_tellers: list[multiprocessing.connection.Connection] = []  # of this process: one at most


def _begin_to_tell(
    teller: multiprocessing.connection.Connection,
    begin: Callable[..., object] | None,
    arguments: tuple[object, ...],
) -> None:
    _tellers.append(teller)
    if begin is not None:
        begin(*arguments)


def worker_pool(
    workers: int,
    begin: Callable[..., object] | None = None,
    *arguments: object,
    tasks_each: int | None = None,
) -> ProcessPoolExecutor:
    """A pool whose processes call `begin` first, and are replaced after `tasks_each` tasks.

    They are spawned, not forked: a fork would copy locks that other threads of the parent hold.
    """
    return ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(begin, arguments),
        max_tasks_per_child=tasks_each,
    )


def _begin(begin: Callable[..., object] | None, arguments: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which stops us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if begin is not None:
        begin(*arguments)
    look_rarely()


def _end_with_parent() -> None:
    """A killed parent must not leave processes behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        with contextlib.suppress(OSError):
            multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
