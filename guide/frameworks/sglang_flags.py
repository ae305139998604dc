"""Which flags of ``sglang.launch_server`` exist in which version: an unknown one ends the server.

Read from the argument parsers of 27 wheels from 0.4.0 to 0.5.23. A flag counts from the first of
them that has it to the last, so the list errs on the side of a refusal. argparse also takes what is
short for one flag alone, so a flag that has gone can become an ambiguous one: --cuda-graph-max-bs
of 0.5.20. Only flags that GUIDE writes, or lets a plan add, are listed.
"""

from __future__ import annotations

from collections.abc import Iterable

from guide.frameworks.launches import Version, flags_of
from guide.frameworks.launches import image_version as image_version

_OLDEST: Version = (0, 4, 0)
_ALWAYS = (
    "--chat-template", "--chunked-prefill-size", "--context-length", "--disable-radix-cache",
    "--dist-init-addr", "--dtype", "--enable-cache-report", "--enable-metrics",
    "--enable-mixed-chunk", "--host", "--kv-cache-dtype", "--load-format", "--log-level",
    "--log-level-http", "--log-requests", "--max-prefill-tokens", "--max-running-requests",
    "--mem-fraction-static", "--model-path", "--nnodes", "--node-rank", "--port", "--quantization",
    "--random-seed", "--revision", "--served-model-name", "--tokenizer-mode", "--tokenizer-path",
    "--tp-size", "--trust-remote-code", "--watchdog-timeout",
)  # fmt: skip
_SPECULATIVE = ("algorithm", "draft-model-path", "eagle-topk", "num-draft-tokens", "num-steps")
BUCKETS = {
    "time_to_first_token": "--bucket-time-to-first-token",
    "inter_token_latency": "--bucket-inter-token-latency",
    "request_latency": "--bucket-e2e-request-latency",
}
DECODE_GRAPH = "--cuda-graph-max-bs-decode"
GRAPH = "--cuda-graph-max-bs"

# flag -> the first version known to have it, and the last (None: the newest read has it)
FLAGS: dict[str, tuple[Version, Version | None]] = {
    **{flag: (_OLDEST, None) for flag in _ALWAYS},
    "--tool-call-parser": ((0, 4, 3), None),
    "--reasoning-parser": ((0, 4, 3), None),
    "--pp-size": ((0, 4, 6), None),
    **{flag: ((0, 4, 6), None) for flag in BUCKETS.values()},
    **{f"--speculative-{name}": ((0, 4, 4), None) for name in _SPECULATIVE},
    "--skip-server-warmup": ((0, 4, 10), None),
    "--fastapi-root-path": ((0, 5, 6), None),
    GRAPH: (_OLDEST, (0, 5, 19)),
    DECODE_GRAPH: ((0, 5, 14), None),
}
# Flags that a plan may add: none of them moves the predicted operating point.
EXTRA = frozenset(
    {
        "--chat-template", "--enable-cache-report", "--fastapi-root-path", "--load-format",
        "--log-level", "--log-level-http", "--log-requests", "--random-seed", "--reasoning-parser",
        "--revision", "--skip-server-warmup", "--tokenizer-mode", "--tokenizer-path",
        "--tool-call-parser", "--trust-remote-code", "--watchdog-timeout",
    }
)  # fmt: skip


def wrong(args: Iterable[str], version: Version) -> list[str]:
    """Those of `args` that SGLang `version` does not have, sorted."""
    return sorted(name for name in flags_of(args) if not has(name, version))


def has(flag: str, version: Version) -> bool:
    """Whether SGLang `version` has this flag."""
    if flag not in FLAGS:
        return False
    since, last = FLAGS[flag]
    return since <= version and (last is None or version <= last)
