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
