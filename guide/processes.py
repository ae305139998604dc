"""Processes that work for another one."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor


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


def _end_with_parent() -> None:
    """A killed parent must not leave processes behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        with contextlib.suppress(OSError):
            multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
