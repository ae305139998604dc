"""A process that is ended leaves nothing behind that could trip over its end."""

from __future__ import annotations

import os
import threading
import time

import pytest

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
