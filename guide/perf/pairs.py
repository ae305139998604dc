"""Query-key pairs of the attention of prompts."""

from __future__ import annotations


def attended(before: float, new: float, window: float) -> tuple[float, float]:
    """Query-key pairs of `new` prompt tokens after `before`: causal, and of these the ones inside a
    sliding window of so many tokens (0: the model has none, and neither has it such pairs).

    Each token sees all before it and itself, and in a window at most the last `window` of these.
    """
    return (
        new * before + new * (new + 1) / 2,
        _seen(before + new, window) - _seen(before, window) if window else 0.0,
    )


def _seen(tokens: float, window: float) -> float:
    """Pairs inside the window over a prompt of `tokens` from its start."""
    ramp = min(tokens, window)
    return ramp * (ramp + 1) / 2 + max(0.0, tokens - window) * window
