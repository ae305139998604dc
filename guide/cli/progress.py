"""A sign of life on stderr for what takes longer than a second; nothing where nobody looks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

PATIENCE_S = 1.0


@contextmanager
def shown_when_slow(what: str, patience_s: float = PATIENCE_S) -> Generator[Callable[[str], None]]:
    """Show a spinner with `what` beside it once `patience_s` have passed, on a terminal only.
    Yields what to call with other words.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda words: None
        return
    status = console.status(f"{what} ...")
    timer = threading.Timer(patience_s, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda words: status.update(f"{what}: {words}")
    finally:
        timer.cancel()
        timer.join()  # it may be starting the spinner at this very moment
        status.stop()


@contextmanager
def counted(total: int, done: int = 0) -> Generator[Callable[[int], None]]:
    """A bar of `total` steps, of which `done` are done, with the time that is left, on a terminal
    only. Yields what to call with the number of steps just done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total, completed=done)
        yield lambda steps: bar.advance(task, steps)
