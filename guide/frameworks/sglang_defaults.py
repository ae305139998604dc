"""What SGLang takes by itself on a GPU, release by release: chunk, captured batch, memory fraction.

Read in `ServerArgs.__post_init__` of the wheels 0.4.0 to 0.5.23 (server_args.py). Memory is what
the driver states of the smallest GPU, in MiB.
"""

from __future__ import annotations

from guide.domain import Gpu
from guide.units import GIB, MIB

Version = tuple[int, ...]

MAX_RUNNING = 2048  # while contexts are short of a quarter of the pool
_LARGE_PREFILL = 16384  # a step of prompts is never cut below this by --max-prefill-tokens

# below so many GiB: chunk, captured batch, and that with four GPUs or more
_TIERS = (
    (20, 2048, 8, 8),
    (35, 2048, 24, 80),
    (60, 4096, 32, 160),
    (160, 8192, 256, 512),
    (float("inf"), 16384, 512, 512),
)
_TIERS_20 = tuple((35, 4096, 48, 160) if tier[0] == 35 else tier for tier in _TIERS)
_PREFILL_SIZES = {2048: 42, 4096: 50, 8192: 58, 16384: 74}
_OLD_BY_TP = ((16, 0.79), (8, 0.81), (4, 0.85), (2, 0.87), (1, 0.88))


def chunk_tokens(gpu: Gpu, version: Version) -> int:
    """--chunked-prefill-size where nobody states it."""
    if version >= (0, 5, 3):
        return _tier(gpu, version)[1]
    if version >= (0, 4, 10):
        return 2048 if _gib(gpu) < 35 else 8192 if _gib(gpu) < 160 else 16384
    return 2048 if _mib(gpu) < 25_000 else 8192


def graph_batch(gpu: Gpu, tp: int, version: Version) -> int:
    """The largest batch of decodes that is captured as a graph; beyond, kernels are launched one
    by one.
    """
    if version < (0, 5, 3):
        return 8 if _gib(gpu) < 20 else 80 if tp >= 4 or _gib(gpu) >= 35 else 24
    _, _, alone, parallel = _tier(gpu, version)
    return parallel if tp >= 4 else alone


def memory_fraction(
    gpu: Gpu, tp: int, pp: int, version: Version, *, latent: bool = False, towers: bool = False
) -> float:
    """--mem-fraction-static where nobody states it; `towers`: a model with an encoder of images."""
    if version < (0, 4, 10):
        return next(share for least, share in _OLD_BY_TP if tp >= least)
    share = _share(gpu, tp, pp, version, latent=latent)
    return round(0.95 * share, 3) if towers else share


def _share(gpu: Gpu, tp: int, pp: int, version: Version, *, latent: bool) -> float:
    mib, gib, ranks = _mib(gpu), _gib(gpu), tp * pp
    if version < (0, 5, 3):
        half = ranks / 2
        kept_gib = (
            2.8 + ranks / 10
            if gib < 35
            else 9.5 + half
            if gib < 90
            else 12 + half
            if gib < 160
            else 32.0
        )
        return round((mib - 1024 * kept_gib) / mib, 3)
    chunk = chunk_tokens(gpu, version)
    kept = 512 + 1.5 * max(chunk, 2048) + 128 * ranks + 2 * graph_batch(gpu, tp, version)
    if version >= (0, 5, 10) and pp == 1 and gpu.vendor == "nvidia":  # graphs of prompts
        kept += 1536 if latent else 8 * _PREFILL_SIZES[chunk]
    if gib >= 60:
        kept = max(kept, 10_240)
    return round((mib - kept) / mib, 3)


def prefill_tokens(chunk: int) -> int:
    """--max-prefill-tokens, which is also a cap on a step of prompts."""
    return max(_LARGE_PREFILL, chunk)


def _tier(gpu: Gpu, version: Version) -> tuple[float, int, int, int]:
    tiers = _TIERS_20 if version >= (0, 5, 20) else _TIERS
    return next(tier for tier in tiers if _gib(gpu) < tier[0])


def _mib(gpu: Gpu) -> float:
    return gpu.hbm_bytes / MIB


def _gib(gpu: Gpu) -> float:
    return gpu.hbm_bytes / GIB
