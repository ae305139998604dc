"""The operator's engine: answers come from processes, and the same question is answered once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path

from guide.cli.question import ask
from guide.domain import Inventory
from guide.live.learn import Corrections
from guide.question import Question
from guide_operator.engine import Answer, Engine

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def digest(question: Question, inventory: Inventory) -> str:
    return replace(question, inventory=inventory).digest


def test_the_same_question_is_answered_once():
    asked = ask(EXAMPLES / "chat.yaml", EXAMPLES / "nodes.yaml", None, None)
    asked = replace(asked, plan=replace(asked.plan, gpus=("A100-80GB",)))
    pools = asked.inventory.pools
    # a pool that the plan may not use has gone: the same digest, yet another answer to print
    fewer = replace(asked.inventory, pools=tuple(p for p in pools if p.name != "l4-x1"))
    assert len(fewer.pools) == len(pools) - 1
    assert digest(asked, fewer) == digest(asked, asked.inventory)
    took: list[float] = []

    async def answers() -> list[Answer]:
        engine = Engine(1, took.append)
        engine.start()

        def answer(inventory: Inventory) -> Awaitable[Answer]:
            named = digest(asked, inventory)
            return engine.answer(asked.plan, inventory, (), digest=named, routine=False)

        try:
            together = await asyncio.gather(*map(answer, (asked.inventory, asked.inventory, fewer)))
            engine.use(Corrections(version=2))
            return [*together, await answer(fewer)]
        finally:
            await engine.close()

    first, again, other, corrected = asyncio.run(answers())
    assert again is first
    assert corrected is not other, "other corrections, other answers"
    assert len(took) == 3
    assert len(first.recommendation.inventory.pools) == len(pools)
    assert len(other.recommendation.inventory.pools) == len(fewer.pools)
    assert other.recommendation.best is not None
