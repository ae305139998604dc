"""What an answer is shown beside: its layout with other batches, layouts that hold more context."""

from __future__ import annotations

from guide.domain.layout import LayoutKey
from guide.record import Record


class BatchPoint(Record, frozen=True, kw_only=True):
    """What the recommended layout does with a batch of another size: an offline load as a whole,
    any other with replicas whose batch is always full.
    """

    max_num_seqs: int
    output_tokens_per_s: float  # over all replicas
    tpot_s: float  # mean
    kv_peak_share: float
    job_s: float | None = None  # of an offline load
    e2e_s: float | None = None  # of a mean request otherwise


class ContextTier(Record, frozen=True, kw_only=True):
    """The longest context of a replica of so many GPUs, and the layout that holds it."""

    gpus: int
    tokens: int
    gpu: str
    layout: LayoutKey
