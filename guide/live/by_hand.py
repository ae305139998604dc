"""The loop of the operator in one go: windows of the past, compared until nothing moves (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from guide.domain import Catalog, Evaluation, Inventory, Plan
from guide.errors import SpecError
from guide.live.expect import Expected, expect
from guide.live.learn import FEWEST_SAMPLES, Corrections, learnt, overlay, sample
from guide.live.measured import Observation, lacking, unfit, workload
from guide.search.assess import Running

MOST_UPDATES = 8


def fitting(windows: Sequence[Observation]) -> list[Observation]:
    """The windows that may be learnt from; `SpecError` where they are too few."""
    refusals = [lacking(one) or unfit(one) for one in windows]
    good = [one for one, why in zip(windows, refusals, strict=True) if why is None]
    if len(good) < FEWEST_SAMPLES:
        why = next(why for why in refusals if why)
        raise SpecError(
            f"{len(good)} of {len(windows)} windows can be learnt from, {FEWEST_SAMPLES} are"
            f" needed: {why}"
        )
    return good


def learn(
    plan: Plan,
    inventory: Inventory,
    catalog: Catalog,
    *,
    layout: Sequence[Running],
    windows: Sequence[Observation],
    now: str,
) -> tuple[Corrections, list[tuple[Observation, Expected]]]:
    """The corrections that `windows` ask for, and each window beside its corrected prediction.

    Raises `SpecError` when the layout cannot be judged.
    """
    ledger = Corrections()
    pairs = _pairs(plan, inventory, catalog, layout, windows)
    for _ in range(MOST_UPDATES):
        keys = {key for _, expected in pairs for key in expected.keys}
        if len(keys) > 1:
            raise SpecError("several kinds of GPU share the load: their times cannot be told apart")
        after = learnt(ledger, keys.pop(), [sample(*pair) for pair in pairs], now)
        if after is ledger:
            break
        ledger = after
        pairs = _pairs(plan, inventory, overlay(catalog, ledger), layout, windows)
    return ledger, pairs


def running_layout(evaluation: Evaluation) -> tuple[Running, ...]:
    """The layout of an evaluation, as `guide.search.assess` names it."""
    return tuple(
        Running(
            key=item.group.key,
            replicas=item.group.replicas,
            load_share=item.group.load_share,
        )
        for item in evaluation.groups
    )


def _pairs(
    plan: Plan,
    inventory: Inventory,
    catalog: Catalog,
    layout: Sequence[Running],
    windows: Sequence[Observation],
) -> list[tuple[Observation, Expected]]:
    pairs: list[tuple[Observation, Expected]] = []
    for one in windows:
        expected = expect(plan, inventory, catalog, layout, workload(one, plan))
        if expected is None or not expected.stable:
            raise SpecError("the layout is no candidate of the plan, or cannot serve the load")
        pairs.append((one, expected))
    return pairs
