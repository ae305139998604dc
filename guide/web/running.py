"""Questions at work: asked once however many wait, seen on their way, remembered afterwards.

The page shows how far a question is and comes back; downloads and the JSON API wait for its end.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future

from msgspec import Struct, field

from guide.domain import Inventory, Plan, Recommendation
from guide.search.progress import Progress
from guide.web import engine

REMEMBERED = 64  # answers; downloads and charts ask again for what the page has shown


class Running(Struct):
    """A question at work: its answer to come, and how far it is."""

    answer: Future[Recommendation] = field(default_factory=Future[Recommendation])
    progress: Progress | None = None  # None: nothing is known yet

    def seen(self, progress: Progress) -> None:
        """Keep the latest."""
        self.progress = progress


Key = tuple[Plan, Inventory]
_questions: OrderedDict[Key, Running] = OrderedDict()
_lock = threading.Lock()


def begun(plan: Plan, inventory: Inventory) -> Running:
    """The question at work, or its remembered answer; begun if nobody has asked it."""
    with _lock:
        running = _questions.get((plan, inventory))
        if running is None:
            running = _questions[plan, inventory] = Running()
            threading.Thread(target=_work, args=(plan, inventory, running), daemon=True).start()
        _questions.move_to_end((plan, inventory))
        while len(_questions) > REMEMBERED:
            _questions.popitem(last=False)
        return running


def at_work(plan: Plan, inventory: Inventory) -> bool:
    """Whether the question was begun and has not ended."""
    with _lock:
        running = _questions.get((plan, inventory))
    return running is not None and not running.answer.done()


def answer_within(
    plan: Plan, inventory: Inventory, seconds: float | None = None
) -> Recommendation | Running:
    """The answer, or after so many seconds the question at work; an error is told once, and the
    question may be asked again.
    """
    running = begun(plan, inventory)
    try:
        return running.answer.result(seconds)
    except TimeoutError:
        if not running.answer.done():
            return running
        raise
    finally:
        if running.answer.done() and running.answer.exception() is not None:
            with _lock:
                if _questions.get((plan, inventory)) is running:
                    del _questions[plan, inventory]


def forget() -> None:
    """Forget every answer."""
    with _lock:
        _questions.clear()


def _work(plan: Plan, inventory: Inventory, running: Running) -> None:
    try:
        running.answer.set_result(engine.answered(plan, inventory, running.seen))
    except Exception as error:
        running.answer.set_exception(error)
