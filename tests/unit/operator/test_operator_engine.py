"""The operator's engine: answers come from processes, and the same question is answered once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from guide.cli.question import ask
from guide.domain import Budget, Inventory, Lengths, Preference, Slo, Tolerance, Workload
from guide.errors import TookTooLong
from guide.live.learn import Corrections
from guide.models.families import read_config
from guide.question import Question
from guide_operator.engine import Answer, Engine
from tests.llama_config import LLAMA

TINY = {
    **LLAMA,
    **{"hidden_size": 64, "num_hidden_layers": 1, "intermediate_size": 64, "vocab_size": 64},
    "max_position_embeddings": 10**9,
}
T = TypeVar("T")
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
    assert again == first
    assert len(took) == 3, "the same question once, and again with other corrections"
    assert corrected == other
    assert len(first.recommendation.inventory.pools) == len(pools)
    assert len(other.recommendation.inventory.pools) == len(fewer.pools)
    assert other.recommendation.best is not None


def chat(requests_per_s: float = 2.0) -> Question:
    asked = ask(EXAMPLES / "chat.yaml", EXAMPLES / "nodes.yaml", None, None)
    load = replace(asked.plan.workload, requests_per_s=requests_per_s)
    return replace(asked, plan=replace(asked.plan, workload=load, gpus=("A100-80GB",)))


def huge() -> Question:
    """A question of a tenant who means no good: long prompts of thousands at a time, any precision,
    and no limit that ends the search early.
    """
    asked = ask(EXAMPLES / "chat.yaml", EXAMPLES / "nodes.yaml", None, None)
    load = Workload(
        prompt=Lengths(mean_tokens=1e5, p95_tokens=1e5),
        output=Lengths(mean_tokens=2e4, p95_tokens=4e4),
        concurrency=4000,
    )
    plan = replace(
        asked.plan,
        model=read_config("tiny", TINY),
        workload=load,
        slo=Slo(),
        budget=Budget(),
        tolerance=Tolerance.INT4,
        preference=Preference.LATENCY,
    )
    return replace(asked, plan=plan)


def run(engine: Engine, work: Callable[[Engine], Awaitable[T]]) -> T:
    async def within() -> T:
        engine.start()
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(within())


def answer(engine: Engine, asked: Question, namespace: str) -> asyncio.Task[Answer]:
    coroutine = engine.answer(
        asked.plan,
        asked.inventory,
        (),
        digest=f"{namespace} {asked.plan.workload}",
        routine=False,
        namespace=namespace,
    )
    return asyncio.create_task(coroutine)


def test_a_question_that_computes_too_long_is_ended_once_and_remembered():
    async def work(engine: Engine) -> list[str]:
        told: list[str] = []
        for _ in range(2):
            with pytest.raises(TookTooLong) as ended:
                await answer(engine, huge(), "bad")
            told.append(str(ended.value))
        assert (await answer(engine, chat(), "good")).recommendation.best is not None
        return told

    first, again = run(Engine(1, lambda _: None, longest_s=2), work)
    assert first == again
    assert "2 seconds of computing" in first


def test_namespaces_take_turns():
    async def work(engine: Engine) -> list[str]:
        order: list[str] = []
        tasks = [answer(engine, chat(n), "many") for n in (1.0, 1.5, 2.0, 2.5, 3.0)]
        await asyncio.sleep(0)
        tasks.append(answer(engine, chat(3.5), "one"))
        for task in tasks:
            name = "one" if task is tasks[-1] else "many"
            task.add_done_callback(lambda _, name=name: order.append(name))
        await asyncio.gather(*tasks)
        return order

    order = run(Engine(1, lambda _: None), work)
    assert order.index("one") <= 2


def test_a_question_that_nobody_waits_for_any_more_is_ended():
    async def work(engine: Engine) -> float:
        gone = answer(engine, huge(), "bad")
        await asyncio.sleep(1)  # until a process works at it
        gone.cancel()
        began = time.monotonic()
        await asyncio.wait_for(answer(engine, chat(), "good"), 300)
        return time.monotonic() - began

    assert run(Engine(1, lambda _: None, longest_s=100_000), work) < 300
