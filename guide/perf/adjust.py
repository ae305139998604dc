"""Dynamic adjustment of batch and sequence to the memory (paper 3.2 step 1, 3.3.1, 3.3.2).

The formulas that the paper's text leaves out are those of its first step: the KV cache of a request
is the operator table's bytes per token times its tokens (so grouped-query, latent and windowed
attention, the KV type and H2O all count), and the memory left on the GPU divided by it is the
parallelism.
"""

from __future__ import annotations

import math

from guide.domain import MemoryFit, ModelArch, Switches
from guide.perf.memory import kv_bytes_per_token
from guide.perf.ops import Layout
from guide.record import Record

CONTEXT_STEP_TOKENS = 1024


def kv_memory_per_request(
    arch: ModelArch,
    tokens: float,
    kv_cache_dtype: str = "auto",
    switches: Switches = Switches(),
) -> float:
    """KV-cache bytes of a request of `tokens`, over all GPUs (P4).

    2 x layers x KV heads x head dimension x tokens x bytes, as the model really stores it.
    """
    return kv_bytes_per_token(arch, Layout(), kv_cache_dtype, switches) * tokens


def mean_context_tokens(prompt_tokens: float, output_tokens: float) -> float:
    """Tokens that a request holds while it decodes, averaged over its steps: the KV overhead at
    batch 1, averaged over prefill and decode (P4)."""
    return prompt_tokens + output_tokens / 2


def available_memory(memory: MemoryFit) -> float:
    """Bytes of one GPU left for KV cache: its memory less its slice of the model and what the
    framework reserves (P5)."""
    return memory.kv_bytes


def max_parallelism(memory: MemoryFit, request_tokens: float) -> int:
    """Requests of `request_tokens` whose KV cache or state fits at once (P5): rounded down on each
    attention rank."""
    fit = _by_blocks(memory, request_tokens)
    fit = fit if memory.max_sequences is None else min(fit, memory.max_sequences)
    return fit * memory.attention_ranks


def _by_blocks(memory: MemoryFit, request_tokens: float) -> int:
    if memory.pool is not None:
        return memory.pool.blocks // memory.pool.held_blocks(math.ceil(request_tokens))
    blocks = math.ceil(request_tokens / memory.block_tokens)
    return memory.kv_capacity_tokens // memory.block_tokens // blocks


class AdjustedBatch(Record, frozen=True):
    """A batch that fits the memory, and the sub-batches in which its prompts are processed."""

    size: int
    split_size: int

    @property
    def sub_batches(self) -> tuple[int, ...]:
        """Sizes of the sub-batches: whole ones, and one more for the remainder."""
        whole, rest = divmod(self.size, self.split_size)
        return (self.split_size,) * whole + ((rest,) if rest else ())


def adjust_batch_size(requested: int, most: int, split_size: int | None = None) -> AdjustedBatch:
    """Clamp a batch to what memory holds, at least one request; split it by `split_size` (P6).

    Without a split the batch is one sub-batch.
    """
    size = max(1, min(requested, most))
    return AdjustedBatch(size, max(1, min(size, split_size or size)))


def prompt_split_size(token_budget: int, prompt_tokens: float) -> int:
    """Whole prompts that one forward step takes: the sub-batch that the framework forms (P6)."""
    return max(1, int(token_budget // max(1.0, prompt_tokens)))


class Segments(Record, frozen=True):
    """A prompt cut into steps: `count` segments of `tokens` each on average."""

    count: int
    tokens: float


def adjust_sequence_length(
    prompt_tokens: float, base_tokens: float, tuning: float = 1.0
) -> Segments:
    """Cut a long prompt into segments of the base value times a tuning factor, rounded up (P7).

    The segments hold exactly the prompt: the last one is shorter, never longer than asked.
    """
    segment = max(1.0, base_tokens * tuning)
    count = max(1, math.ceil(prompt_tokens / segment))
    return Segments(count, prompt_tokens / count)


def longest_sequence(memory: MemoryFit, model_limit: int, needed: int) -> int:
    """The longest sequence that memory holds, in whole 1,024 tokens, no less than needed (P7)."""
    most = memory.longest_request(model_limit)
    return max(needed, most // CONTEXT_STEP_TOKENS * CONTEXT_STEP_TOKENS)
