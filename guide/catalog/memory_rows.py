"""Rows of memory.yaml: how a release accounts for GPU memory, each on top of the row before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Field

from guide.catalog.finding import dotted
from guide.catalog.release_rows import Dotted
from guide.catalog.rows import Count, Row, Text
from guide.domain import MemoryRules, StaticFraction
from guide.errors import CatalogError
from guide.units import GIB

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class RunnersRow(Row):
    """One figure for each model runner of vLLM."""

    v1: NotNegative
    v2: NotNegative


class StaticRow(Row):
    """A fraction of what is free before loading; see the head of memory.yaml."""

    before_gib: NotNegative
    before_link_gib: NotNegative
    workspace_gib: NotNegative
    decode_graph_gib: NotNegative
    prefill_graph_gib: NotNegative
    blackwell_page_tokens: Count
    window_share: Annotated[float, Field(gt=0, le=1)]
    window_models: tuple[Text, ...]
    state_ratio: NotNegative
    state_slots: Count

    def to_domain(self) -> StaticFraction:
        """The same in bytes."""
        return StaticFraction(
            before_bytes=self.before_gib * GIB,
            before_link_bytes=self.before_link_gib * GIB,
            workspace_bytes=self.workspace_gib * GIB,
            decode_graph_bytes=self.decode_graph_gib * GIB,
            prefill_graph_bytes=self.prefill_graph_gib * GIB,
            blackwell_page_tokens=self.blackwell_page_tokens,
            window_share=self.window_share,
            window_models=self.window_models,
            state_ratio=self.state_ratio,
            state_slots=self.state_slots,
        )


class MemoryRow(Row):
    """What changed in the accounting with a version; see the head of memory.yaml."""

    framework: Text
    since: Dotted
    logit_bytes: RunnersRow | None = None
    penalty_bytes: NotNegative | None = None
    graphs_gib: RunnersRow | None = None
    graphs_parallel_gib: NotNegative | None = None
    runtime_gib: NotNegative | None = None
    runtime_parallel_gib: NotNegative | None = None
    v2: tuple[Text, ...] | None = None
    v2_quantized: bool | None = None
    hybrid_cache: bool | None = None
    batches_in_flight: Count | None = None
    state_blocks: Count | None = None
    uneven_groups: Annotated[float, Field(ge=1)] | None = None
    full_length_tokens: bool | None = None
    static: StaticRow | None = None
    source: Text

    @property
    def key(self) -> str:
        """What names the row in an error."""
        return f"{self.framework} since {self.since}"


def memory_rules(rows: Iterable[MemoryRow]) -> Mapping[str, tuple[MemoryRules, ...]]:
    """The rules of each framework, oldest first; `CatalogError` where the oldest row lacks one."""
    rules: dict[str, tuple[MemoryRules, ...]] = {}
    known: dict[str, MemoryRow] = {}
    for row in sorted(rows, key=lambda row: (row.framework, dotted(row.since))):
        before = known.get(row.framework)
        stated = row.model_dump(exclude_none=True)
        whole = MemoryRow.model_validate({**before.model_dump(), **stated} if before else stated)
        known[row.framework] = whole
        rules[row.framework] = (*rules.get(row.framework, ()), _to_domain(whole))
    return rules


def _to_domain(row: MemoryRow) -> MemoryRules:
    lacks = [name for name, value in row.model_dump(exclude={"static"}).items() if value is None]
    if lacks:
        raise CatalogError(f"memory.yaml, {row.key}: {lacks[0]} is missing.")
    assert row.logit_bytes is not None
    assert row.graphs_gib is not None
    return MemoryRules(
        since=dotted(row.since),
        logit_bytes=(row.logit_bytes.v1, row.logit_bytes.v2),
        penalty_bytes=row.penalty_bytes or 0.0,
        graph_bytes=(row.graphs_gib.v1 * GIB, row.graphs_gib.v2 * GIB),
        graph_parallel_bytes=(row.graphs_parallel_gib or 0.0) * GIB,
        runtime_bytes=(row.runtime_gib or 0.0) * GIB,
        runtime_parallel_bytes=(row.runtime_parallel_gib or 0.0) * GIB,
        second_runner=row.v2 or (),
        second_runner_quantized=bool(row.v2_quantized),
        hybrid_cache=bool(row.hybrid_cache),
        batches_in_flight=row.batches_in_flight or 1,
        state_blocks=row.state_blocks or 1,
        uneven_groups=row.uneven_groups or 1.0,
        full_length_tokens=bool(row.full_length_tokens),
        source=row.source,
        static=row.static and row.static.to_domain(),
    )
