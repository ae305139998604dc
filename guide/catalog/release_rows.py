"""Rows of `frameworks.yaml`: behaviour and defaults of a framework over a range of versions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from guide.catalog.finding import dotted
from guide.catalog.rows import Count, Row, Text
from guide.domain import LimitTier, MemoryRules, Release, Scheduling
from guide.units import GIB

Dotted = Annotated[str, Field(pattern=r"^\d+(\.\d+)*$")]


class TierRow(Row):
    """Default limits on GPUs of at least ``min_hbm_gib``."""

    min_hbm_gib: Annotated[float, Field(ge=0)]
    max_num_batched_tokens: Count
    max_num_seqs: Count
    not_gpus: tuple[Text, ...] = ()


class ReleaseRow(Row):
    """A framework over a version range."""

    framework: Text
    engine: Text
    since: Dotted
    until: Dotted | None = None
    version: Dotted
    scheduling: Scheduling
    tiers: Annotated[tuple[TierRow, ...], Field(min_length=1)]
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)]
    prefix_cache: bool
    block_tokens: Count
    image: Text | None = None
    source: Text

    @property
    def key(self) -> str:
        """What names the row in an error."""
        return f"{self.framework} since {self.since}"

    @field_validator("tiers")
    @classmethod
    def _complete(cls, tiers: tuple[TierRow, ...]) -> tuple[TierRow, ...]:
        if not any(tier.min_hbm_gib == 0 and not tier.not_gpus for tier in tiers):
            raise ValueError("one tier must hold for every GPU (min_hbm_gib 0 without not_gpus)")
        return tuple(sorted(tiers, key=lambda tier: -tier.min_hbm_gib))

    @model_validator(mode="after")
    def _range(self) -> ReleaseRow:
        version = dotted(self.version)
        until = dotted(self.until) if self.until else None
        if version < dotted(self.since) or (until is not None and version >= until):
            raise ValueError(f"version {self.version} lies outside since and until")
        return self

    def to_domain(self, memory: MemoryRules) -> Release:
        """Versions as tuples, memory in bytes, tiers from large to small."""
        return Release(
            framework=self.framework,
            engine=self.engine,
            since=dotted(self.since),
            until=dotted(self.until) if self.until else None,
            scheduling=self.scheduling,
            tiers=tuple(
                LimitTier(
                    min_hbm_bytes=tier.min_hbm_gib * GIB,
                    max_num_batched_tokens=tier.max_num_batched_tokens,
                    max_num_seqs=tier.max_num_seqs,
                    not_gpus=tier.not_gpus,
                )
                for tier in self.tiers
            ),
            gpu_memory_utilization=self.gpu_memory_utilization,
            memory=memory,
            prefix_cache=self.prefix_cache,
            block_tokens=self.block_tokens,
            image=self.image,
            version=self.version,
            source=self.source,
        )
