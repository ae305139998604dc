"""A process that works for another, from what it begins with to its end."""

from __future__ import annotations

import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from guide.catalog import load
from guide.garbage import THRESHOLD
from guide.processes import Worker


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "at work"])
def test_no_thread_looks_after_a_worker_that_was_ended(busy: bool):
    before = set(threading.enumerate())
    worker = Worker()
    pid = worker.submit(os.getpid).result()
    if busy:
        worker.submit(time.sleep, 60)
    assert set(threading.enumerate()) - before
    worker.end()
    assert set(threading.enumerate()) <= before
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_is_ended_by_several_threads_at_once():
    """A server that stops ends what is at work, and so does the thread that asked for it."""
    threads = 8
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            worker = Worker()
            worker.submit(time.sleep, 60)
            together = threading.Barrier(threads)

            def end(worker: Worker = worker, together: threading.Barrier = together) -> None:
                together.wait()
                worker.end()

            for ended in [pool.submit(end) for _ in range(threads)]:
                ended.result()


def test_a_worker_never_looks_again_at_what_it_began_with():
    """A look at a catalogue and all that was remembered of it takes as long as many an answer."""
    worker = Worker(load)
    try:
        assert worker.submit(gc.get_freeze_count).result() > 10_000
        assert worker.submit(gc.get_threshold).result()[0] == THRESHOLD
    finally:
        worker.end()
