"""What verifying several tokens at once makes of the facts of a step, and the layers of one pass of
a draft."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import Gpu, ModelArch, Precision, Speculation, SpeculationMethod, Switches
from guide.perf.ops import Layout, Role, gemm_peak_flop_per_s, role_sums
from guide.perf.terms import StepFacts


def verified(
    facts: StepFacts,
    queries: int,
    arch: ModelArch,
    gpu: Gpu,
    precision: Precision,
    layout: Layout,
    *,
    kv_cache_dtype: str = "auto",
    switches: Switches = Switches(),
) -> StepFacts:
    """The facts where `queries` tokens of a sequence read its cache together: its bytes move once,
    its FLOPs are those of all; measured kernels of one query grow as this roof does. The state of
    linear layers is read once, and written after each token, since any may be the last to hold."""
    sums = role_sums(arch, precision, layout, kv_cache_dtype, switches)
    peak = gemm_peak_flop_per_s(gpu, precision, Role.ATTENTION)

    def grown(role: Role) -> float:
        moved = sums[role].bytes / gpu.hbm_bytes_per_s
        computed = sums[role].context_flop / peak
        alone = max(moved, computed)
        return max(moved, queries * computed) / alone if alone else 1.0

    full, window = grown(Role.ATTENTION), grown(Role.WINDOW)
    return facts._replace(
        kv_token_s=facts.kv_token_s * full,
        kernel_context_s=facts.kernel_context_s * full,
        window_token_s=facts.window_token_s * window,
        kernel_window_s=facts.kernel_window_s * window,
        state_sequence_s=facts.state_sequence_s * (1 + queries) / 2,
    )


def one_pass(speculation: Speculation) -> ModelArch | None:
    """What computes one drafted token: of several prediction layers one, else the whole draft."""
    draft = speculation.draft
    if draft is None or speculation.method is not SpeculationMethod.MTP:
        return draft
    first = draft.groups[0]
    return replace(draft, name=f"{draft.name}, one layer", groups=(replace(first, layers=(0,)),))
