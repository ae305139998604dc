"""Which flags of ``vllm serve`` exist in which version: a server that meets an unknown flag exits.

Read from the argument parsers in the wheels of `READ` (by hack/vllm_flags.py). A flag counts from
the first of these versions that has it, so the list errs on the side of a refusal. Only flags that
GUIDE writes, or lets a plan add, are listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from guide.frameworks.launches import Version, flags_of
from guide.frameworks.launches import image_version as image_version

READ = ("0.7.3", "0.8.5", "0.13.0", "0.20.0", "0.30.0", "0.31.0", "0.32.0", "0.33.0")

NEWEST: Version = tuple(map(int, READ[-1].split(".")))

BUCKETS = "--custom-histogram-buckets"
SPECULATION = "--speculative-config"
_OLDEST = (0, 7, 3)
_ALWAYS = (
    "--chat-template", "--distributed-executor-backend", "--dtype", "--enable-auto-tool-choice",
    "--generation-config", "--gpu-memory-utilization", "--hf-overrides", "--host",
    "--kv-cache-dtype", "--limit-mm-per-prompt", "--load-format", "--max-model-len",
    "--max-num-batched-tokens", "--max-num-seqs", "--override-generation-config",
    "--pipeline-parallel-size", "--port", "--quantization", "--reasoning-parser", "--revision",
    "--root-path", "--seed", "--served-model-name", "--tensor-parallel-size", "--tokenizer",
    "--tokenizer-mode", "--tool-call-parser", "--trust-remote-code", "--uvicorn-log-level",
)  # fmt: skip
_MULTI_NODE = ("--headless", "--master-addr", "--master-port", "--nnodes", "--node-rank")

# flag -> the first version known to have it
FLAGS: dict[str, Version] = {
    **dict.fromkeys(_ALWAYS, _OLDEST),
    "--disable-uvicorn-access-log": (0, 8, 5),
    **dict.fromkeys(("--data-parallel-size", "--enable-expert-parallel"), (0, 8, 5)),
    **dict.fromkeys(_MULTI_NODE, (0, 13, 0)),
    "--enable-log-requests": (0, 13, 0),
    # The flag is older (docs.vllm.ai, v0.9.1), but its JSON had no method "mtp" before: the list in
    # github.com/vllm-project/vllm/pull/24904 of September 2025 names one for each family of models.
    SPECULATION: (0, 13, 0),
    BUCKETS: (0, 32, 0),
}

# Of ``vllm run-batch``: the command is in the documentation since 0.9.1 (docs.vllm.ai/en/v0.9.1,
# vllm.entrypoints.cli.run_batch). It takes every flag of the engine, and of those of the frontend
# what `BaseFrontendArgs` has (vllm.entrypoints.launchers.run_batch, 0.33); nothing of the HTTP
# server.
_RUN_BATCH: Version = (0, 9, 1)
_OF_THE_SERVER = ("--disable-uvicorn-access-log", "--host", "--root-path", "--uvicorn-log-level")
_OF_CHATS = ("--chat-template", "--enable-auto-tool-choice", "--tool-call-parser")
BATCH_FLAGS: dict[str, Version] = {
    **{flag: max(_RUN_BATCH, since) for flag, since in FLAGS.items() if flag not in _OF_THE_SERVER},
    **dict.fromkeys(_OF_CHATS, (0, 33, 0)),
    **dict.fromkeys(("--enable-metrics", "--input-file", "--model", "--output-file"), _RUN_BATCH),
}


def missing(
    args: Iterable[str], version: Version, flags: Mapping[str, Version] = FLAGS
) -> list[str]:
    """Those of `args` that vLLM `version` is not known to have among `flags`, sorted."""
    never = (max(version) + 1,)
    return sorted(name for name in flags_of(args) if flags.get(name, never) > version)
