"""How often Python looks for cycles: what the engine makes holds next to none, and stays."""

from __future__ import annotations

import gc

THRESHOLD = 250_000  # new objects between two looks, of which one at 100,000 takes 30 ms


def look_rarely() -> None:
    """For a process that works for one command, or answers one question after the other: what it
    has read by now is never looked at again."""
    gc.freeze()
    gc.set_threshold(THRESHOLD)
