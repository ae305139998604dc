"""Speculative decoding: what drafts tokens, how many of them hold, and what that makes of a
deployment."""

from __future__ import annotations

from enum import StrEnum

from msgspec.structs import replace

from guide.domain.model import ModelArch
from guide.record import Record

REQUESTS = "requests"  # of a batch, where nobody waits for the single token


class SpeculationMethod(StrEnum):
    """What drafts the tokens that a step verifies."""

    MTP = "MTP"  # the model's own layers of multi-token prediction
    EAGLE = "EAGLE"  # a trained head of one layer on the model's hidden state
    NGRAM = "NGram"  # what followed the same tokens earlier in prompt or answer
    DRAFT_MODEL = "DraftModel"  # a smaller model with the same vocabulary


class Speculation(Record, frozen=True, kw_only=True):
    """Each step drafts so many tokens per sequence and verifies them together with one of its own.

    ``acceptance`` is the user's: for each position the share of drafts that hold there among those
    that held at all positions before.
    """

    method: SpeculationMethod
    tokens: int
    acceptance: tuple[float, ...]  # as long as `tokens`
    draft: ModelArch | None = None  # the layers that draft; None: n-grams compute nothing
    draft_name: str | None = None  # of its checkpoint, where that is another one

    @property
    def queries(self) -> int:
        """Tokens of a sequence that a step verifies."""
        return self.tokens + 1

    @property
    def tokens_per_step(self) -> float:
        """Expected tokens that a step gives a sequence: one, and each draft up to the first miss
        (Leviathan et al., "Fast inference from transformers via speculative decoding", 2023).
        """
        expected, held = 1.0, 1.0
        for share in self.acceptance:
            held *= share
            expected += held
        return expected

    def accepting(self, share: float) -> Speculation:
        """The same with one acceptance at all positions."""
        return replace(self, acceptance=(share,) * self.tokens)


class SpeculationPoint(Record, frozen=True, kw_only=True):
    """One load with speculation and without: mean TPOT and output tokens/s of the deployment."""

    load: float  # requests/s, requests at a time, or requests of a batch
    unit: str  # of the load
    tpot_s: float
    plain_tpot_s: float
    output_tokens_per_s: float
    plain_output_tokens_per_s: float

    @property
    def pays(self) -> bool:
        """Whether a token comes sooner with speculation, or all of a batch."""
        if self.unit == REQUESTS:
            return self.output_tokens_per_s > self.plain_output_tokens_per_s
        return self.tpot_s < self.plain_tpot_s


class SpeculationAdvice(Record, frozen=True, kw_only=True):
    """When speculation pays for the recommended deployment."""

    speculation: Speculation
    asked: SpeculationPoint  # at the load of the plan
    curve: tuple[SpeculationPoint, ...]  # over the load, ascending
    break_even: float | None  # acceptance, the same everywhere, that must be exceeded; None: no
    # acceptance pays
    draft_bytes: float  # of one GPU: weights
    draft_kv_bytes_per_token: float  # of one GPU
