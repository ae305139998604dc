"""`vllm serve MODEL ...` without a GPU: takes every flag of the real one and heeds a few.

What it is to be like is told by the environment, since the flags belong to vLLM.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from aiohttp import web

from hack.standin.metrics import ServerMetrics
from hack.standin.server import Latency, StandIn

DRAIN_S = 600  # the kubelet kills before that

app = typer.Typer(add_completion=False, help=__doc__)


@app.callback()
def vllm() -> None:
    """Only `serve` is there: benchmarks and the rest need the real vLLM."""


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve(
    model: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    served_model_name: str = "",
    max_num_seqs: Annotated[int, typer.Option(min=1)] = 256,
    max_model_len: Annotated[int, typer.Option(min=1)] = 8192,
    custom_histogram_buckets: str = "{}",
    ttft_s: Annotated[float, typer.Option(envvar="STANDIN_TTFT_S", min=0)] = 0.05,
    tpot_s: Annotated[float, typer.Option(envvar="STANDIN_TPOT_S", min=0)] = 0.009,
    prefill_s_per_token: Annotated[
        float, typer.Option(envvar="STANDIN_PREFILL_S_PER_TOKEN", min=0)
    ] = 0.0,
    tpot_s_per_running: Annotated[
        float, typer.Option(envvar="STANDIN_TPOT_S_PER_RUNNING", min=0)
    ] = 0.0,
    start_s: Annotated[float, typer.Option(envvar="STANDIN_START_S", min=0)] = 0.0,
    error_share: Annotated[float, typer.Option(envvar="STANDIN_ERROR_SHARE", min=0, max=1)] = 0.0,
    fail: Annotated[
        str, typer.Option(envvar="STANDIN_FAIL", help="exit: at once; unhealthy: never ready")
    ] = "",
) -> None:
    """Serve until SIGTERM, then finish what runs."""
    if fail == "exit":
        print("the stand-in ends at once, as it was told to", file=sys.stderr)
        raise typer.Exit(1)
    name = served_model_name or model
    server = StandIn(
        model=name,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        latency=Latency(
            ttft_s=ttft_s,
            tpot_s=tpot_s,
            prefill_s_per_token=prefill_s_per_token,
            tpot_s_per_running=tpot_s_per_running,
            start_s=start_s,
        ),
        metrics=ServerMetrics(name, buckets=json.loads(custom_histogram_buckets)),
        error_share=error_share,
        never_healthy=fail == "unhealthy",
    )
    print(f"the stand-in serves {name} on {host}:{port}", flush=True)
    web.run_app(server.app(), host=host, port=port, print=None, shutdown_timeout=DRAIN_S)


if __name__ == "__main__":
    app()
