"""DeepSpeed-FastGen (MII): what it can run, and the script that holds its SplitFuse token budget.

The budget has no command-line flag; only ``mii.serve(inference_engine_config=...)`` sets it, so
each Deployment
carries a small script. Sources: deepspeed/inference/v2/model_implementations, DeepSpeed-MII 0.3.3.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from guide.domain import (
    SIXTEEN_BIT,
    Gpu,
    Limits,
    ModelArch,
    Precision,
    Reason,
    Release,
    ReplicaGroup,
)
from guide.errors import SpecError
from guide.frameworks.base import (
    DEFAULT_BUCKETS,
    PORT,
    DeploymentOptions,
    EnvVar,
    Framework,
    Launch,
    Proxy,
    below,
    capability,
    hugging_face_env,
    shared_memory_bytes,
    slo_buckets,
    tier_limits,
)

# config.json's architectures[0] of the policies in deepspeed/inference/v2.
ARCHITECTURES = frozenset(
    {
        "Exaone4ForCausalLM",
        "FalconForCausalLM",
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "MixtralForCausalLM",
        "OPTForCausalLM",
        "Phi3ForCausalLM",
        "PhiForCausalLM",
        "QWenLMHeadModel",
        "Qwen2ForCausalLM",
        "Qwen2MoeForCausalLM",
    }
)
SCRIPT_PATH = "/etc/guide/serve.py"
PROXY_PATH = "/etc/guide/proxy.py"
_WATCH_PATH = "/etc/guide/fastgen_watch.py"
_SERVER_PORT = 8001
_DEPLOYMENT = "guide"
_LOAD_BALANCER_PORT = 50050
_TRACKED_SEQUENCES = 2048

# mii.serve starts the engine and returns; the stock OpenAI server then runs on top of it.
_SCRIPT = '''\
"""Serves one replica of DeepSpeed-FastGen at the operating point in ENGINE."""

import json
import runpy
import sys

import mii

ENGINE = json.loads("""
{engine}
""")
SERVER = json.loads("""
{server}
""")

if __name__ == "__main__":
    mii.serve(**ENGINE)
    sys.argv = ["openai_api_server", *SERVER]
    runpy.run_module("mii.entrypoints.openai_api_server", run_name="__main__")
'''


class FastGen(Framework):
    """DeepSpeed-FastGen behind MII's OpenAI-compatible server."""

    name = "FastGen"
    image_field = "imageFastGen"
    image_about = "Image of DeepSpeed-FastGen; there is no official one."
    image_vendors = frozenset[str]()
    serves_alias = False
    caveat = "FastGen is hardly maintained (last release of DeepSpeed-MII: 2025)"

    def unsupported(
        self, gpu: Gpu, model: ModelArch, precision: Precision, pp: int
    ) -> tuple[Reason, str] | None:
        """Why FastGen cannot run this: it knows few models, and only NVIDIA from Ampere on."""
        if gpu.vendor != "nvidia" or below(gpu, 8):
            has = f"compute capability {capability(gpu)}" if gpu.vendor == "nvidia" else "none"
            return (
                Reason.COMPUTE_CAPABILITY,
                f"FastGen needs an NVIDIA GPU of compute capability 8.0 or more, and {gpu.name} "
                f"has {has}",
            )
        if model.architecture not in ARCHITECTURES:
            return (
                Reason.UNSUPPORTED_MODEL,
                f"FastGen has no implementation of {model.architecture}",
            )
        if precision.name not in SIXTEEN_BIT:
            return (
                Reason.UNSUPPORTED_PRECISION,
                f"FastGen serves 16-bit checkpoints only, not {precision.name}",
            )
        if pp > 1:
            return (Reason.UNSUPPORTED_MODEL, "FastGen has no pipeline parallelism")
        return None

    def default_limits(self, release: Release, gpu: Gpu, max_model_len: int) -> Limits:
        """DeepSpeed's defaults, the same for every GPU."""
        return tier_limits(release, gpu, max_model_len)

    def launch(self, group: ReplicaGroup, options: DeploymentOptions) -> Launch:
        """A Python process that runs the script, which holds the operating point, and a proxy."""
        image = options.images.get(self.name)
        if image is None:
            raise SpecError(
                "spec.deployment.imageFastGen is needed: DeepSpeed-FastGen has no official image, "
                "so build one by "
                "hack/fastgen.Dockerfile and name it there, or leave FastGen out of "
                "spec.frameworks",
                field="spec.deployment.imageFastGen",
            )
        return Launch(
            image=image,
            command=("python3", SCRIPT_PATH),
            args=(),
            env=(*hugging_face_env(options), EnvVar(name="PYTHONUNBUFFERED", value="1")),
            port=PORT,
            health_path="/health",
            metrics_path="/metrics",
            shm_bytes=shared_memory_bytes(group.tp),
            files=(
                (SCRIPT_PATH, _script(group)),
                (PROXY_PATH, _shipped("fastgen_proxy.py")),
                (_WATCH_PATH, _shipped("fastgen_watch.py")),
            ),
            proxy=_proxy(group, options),
        )


@cache
def _shipped(name: str) -> str:
    return (files("guide.frameworks") / name).read_text("utf-8")


def _proxy(group: ReplicaGroup, options: DeploymentOptions) -> Proxy:
    buckets = {**DEFAULT_BUCKETS, **slo_buckets(options.slo)}
    arguments = {
        "model": group.model.name,
        "port": PORT,
        "server-port": _SERVER_PORT,
        "max-sequences": group.limits.max_num_seqs,
        "buckets": json.dumps(buckets, separators=(",", ":")),
    }
    return Proxy(
        command=(
            "python3",
            PROXY_PATH,
            *(f"--{name}={value}" for name, value in arguments.items()),
        ),
        server_port=_SERVER_PORT,
    )


def _seen_bytes(group: ReplicaGroup) -> float:
    """Memory that the process sees: on a time-shared GPU more than its own."""
    return group.gpu.seen_bytes or group.gpu.hbm_bytes


def _script(group: ReplicaGroup) -> str:
    limits, hbm_bytes = group.limits, group.gpu.hbm_bytes
    engine = {
        "model_name_or_path": group.model.name,
        "deployment_name": _DEPLOYMENT,
        "tensor_parallel": group.tp,
        "replica_num": 1,
        "max_length": limits.max_model_len,
        "inference_engine_config": {
            "state_manager": {
                "max_ragged_batch_size": limits.max_num_batched_tokens,
                "max_ragged_sequence_count": limits.max_num_seqs,
                "max_tracked_sequences": max(limits.max_num_seqs, _TRACKED_SEQUENCES),
                "max_context": limits.max_model_len,
                "memory_config": {
                    "mode": "reserve",
                    "size": round(_seen_bytes(group) - limits.gpu_memory_utilization * hbm_bytes),
                },
            }
        },
    }
    server = [
        f"--model={group.model.name}",
        f"--deployment-name={_DEPLOYMENT}",
        f"--load-balancer=localhost:{_LOAD_BALANCER_PORT}",
        "--host=0.0.0.0",
        f"--port={_SERVER_PORT}",
    ]
    return _SCRIPT.format(engine=json.dumps(engine, indent=2), server=json.dumps(server, indent=2))
