"""A plan on the operator's list, and waiting for what happens to it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from guide_operator.findings import Finding

Object = Mapping[str, Any]


class TryAgain(Exception):
    """The plan is not done; trying again later may help."""


@dataclass(eq=False)
class Work:
    """A plan and what has happened to it since its task last looked."""

    plan: Object
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    asked: bool = True  # by its user or by time, and not merely by a change in the cluster
    failures: int = 0  # since it last came to an end
    written: str | None = None  # resourceVersion after our own last write
    look_again_s: float | None = None
    poll_s: float | None = None  # while a rollout goes on or is stuck
    unasked_s: float = 0.0  # of such polls, since it was last asked by time
    task: asyncio.Task[None] | None = None
    finding: Finding | None = None  # what its pods did, where Prometheus is read


async def either(changed: asyncio.Event, seconds: float) -> bool:
    """Wait for a change, but not longer than that; True if there was one."""
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return False
    return True


async def pause(changed: asyncio.Event, seconds: float) -> None:
    """The same, as a sleep that a change ends."""
    await either(changed, seconds)
