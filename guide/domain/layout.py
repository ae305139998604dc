"""What tells one replica from another."""

from __future__ import annotations

from typing import NamedTuple


class LayoutKey(NamedTuple):
    """Which replica this is; also the last tie-break of every order."""

    pool: str
    framework: str
    checkpoint: str
    precision: str
    kv_cache_dtype: str
    tp: int
    pp: int
    ep: int = 1  # GPUs over which whole experts are dealt out
    attention_dp: int = 1  # groups of `tp` GPUs that attend to requests of their own

    @property
    def one_batch(self) -> bool:
        """Whether a step is one batch: no stages, no attention ranks, which nobody measured."""
        return self.pp == 1 and self.attention_dp == 1

    @property
    def degrees(self) -> tuple[str, ...]:
        """As people write them: TP and PP, and DP of attention and EP where there are any."""
        more = (("DP", self.attention_dp), ("EP", self.ep))
        extra = (f"{name} {count}" for name, count in more if count > 1)
        return (f"TP {self.tp}", f"PP {self.pp}", *extra)
