"""A sign of life on stderr for what takes longer than a second; nothing where nobody looks."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

PATIENCE_S = 1.0


@contextmanager
def shown_when_slow(what: str, patience_s: float = PATIENCE_S) -> Generator[None]:
    """Show a spinner with `what` beside it once `patience_s` have passed, on a terminal only."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    status = console.status(f"{what} ...")
    timer = threading.Timer(patience_s, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # it may be starting the spinner at this very moment
        status.stop()
