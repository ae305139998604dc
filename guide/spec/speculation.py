"""Speculative decoding as plans write it, and as answers tell it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt, model_validator
from typing_extensions import TypedDict

from guide.spec.edge import Edge, refuse, rule, rules
from guide.spec.scalars import ModelName, Percent

MOST_TOKENS = 16
_LONGER = "acceptancePercent has more positions than tokens: state one share for all, or one each"
_NAMED = "draftModel names the checkpoint that drafts: EAGLE and DraftModel need it"
_UNNAMED = "draftModel is for EAGLE and DraftModel: MTP and NGram draft without another checkpoint"
_WITH = "['EAGLE', 'DraftModel'].exists(m, m == self.method)"


class SpeculationSpec(Edge):
    """Tokens that are drafted for each step, and how many of them hold."""

    model_config = rules(
        rule("self.tokens < 1 || self.acceptancePercent.size() <= self.tokens", _LONGER),
        rule(f"!{_WITH} || has(self.draftModel)", _NAMED),
        rule(f"{_WITH} || !has(self.draftModel)", _UNNAMED),
    )

    method: Literal["MTP", "EAGLE", "NGram", "DraftModel"] = Field(
        description="What drafts: the model's own prediction layers (MTP), a head trained for it "
        "(EAGLE-3), what followed the same tokens before (NGram), or a smaller model."
    )
    tokens: Annotated[StrictInt, Field(ge=1, le=MOST_TOKENS)] = Field(
        description="Tokens that are drafted for each sequence and step (num_speculative_tokens)."
    )
    acceptance_percent: Annotated[tuple[Percent, ...], Field(min_length=1, max_length=16)] = Field(
        description="Share of drafts that hold, for each position among those that held at all "
        "before it. One value holds everywhere; of fewer values than tokens the last holds for "
        "the rest. It is yours to measure: it depends on model, draft, temperature and text."
    )
    draft_model: ModelName | None = Field(
        default=None,
        description="Checkpoint that drafts: the head of EAGLE, or a model of the catalogue.",
    )

    @model_validator(mode="after")
    def _fits(self) -> SpeculationSpec:
        if len(self.acceptance_percent) > self.tokens:
            raise refuse(
                f"acceptancePercent has {len(self.acceptance_percent)} positions and tokens is "
                f"{self.tokens}: state one share for all, or one each"
            )
        named = self.method in ("EAGLE", "DraftModel")
        if named and self.draft_model is None:
            raise refuse(_NAMED)
        if not named and self.draft_model is not None:
            raise refuse(_UNNAMED)
        return self

    @property
    def by_position(self) -> tuple[float, ...]:
        """Shares of all positions."""
        given = [percent / 100 for percent in self.acceptance_percent]
        return (*given, *[given[-1]] * (self.tokens - len(given)))


class SpeculationPointDocument(TypedDict):
    """One load with speculation and without it."""

    load: Annotated[float, Field(description="Requests/s, or requests at a time.")]
    tpotSeconds: Annotated[float, Field(description="Mean TPOT with speculation.")]
    tpotSecondsWithout: Annotated[float, Field(description="Mean TPOT without.")]
    outputTokensPerSecond: Annotated[float, Field(description="With speculation.")]
    outputTokensPerSecondWithout: Annotated[float, Field(description="Without.")]


class SpeculationDocument(TypedDict):
    """When speculation pays for the recommended deployment; unmeasured here."""

    method: Annotated[str, Field(description="What drafts.")]
    tokens: Annotated[int, Field(description="Tokens that are drafted for a step.")]
    tokensPerStep: Annotated[
        float, Field(description="Expected tokens of a step, by the acceptance of the plan.")
    ]
    pays: Annotated[bool, Field(description="Whether TPOT falls at the load of the plan.")]
    breakEvenAcceptance: Annotated[
        float | None,
        Field(description="Acceptance at all positions to exceed at this load; null: none pays."),
    ]
    draftGiB: Annotated[float, Field(description="Weights that draft, on one GPU.")]
    draftKVBytesPerToken: Annotated[float, Field(description="What they keep, on one GPU.")]
    asked: Annotated[SpeculationPointDocument, Field(description="At the load of the plan.")]
    curve: Annotated[list[SpeculationPointDocument], Field(description="Over the load, ascending.")]
    measured: Annotated[bool, Field(description="Always false: nobody measured this here.")]
