"""`vllm serve MODEL ...`, `vllm run-batch ...` and `sglang.launch_server ...` without a GPU: every
flag of the real ones is taken, and a few are heeded.

What it is to be like is told by the environment, since the flags belong to the servers.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from aiohttp import web

from hack.standin.batch import work_through
from hack.standin.metrics import ServerMetrics
from hack.standin.server import Latency, StandIn
from hack.standin.sglang import NAMES, SglangStandIn, Started, buckets_in, tell_start

DRAIN_S = 600  # the kubelet kills before that

app = typer.Typer(add_completion=False, help=__doc__)


@app.callback()
def programs() -> None:
    """Only these are there: benchmarks and the rest need the real servers."""


TAKES_ALL = {"allow_extra_args": True, "ignore_unknown_options": True}
Seqs = Annotated[int, typer.Option(min=1)]
TtftS = Annotated[float, typer.Option(envvar="STANDIN_TTFT_S", min=0)]
TpotS = Annotated[float, typer.Option(envvar="STANDIN_TPOT_S", min=0)]
PrefillS = Annotated[float, typer.Option(envvar="STANDIN_PREFILL_S_PER_TOKEN", min=0)]
RunningS = Annotated[float, typer.Option(envvar="STANDIN_TPOT_S_PER_RUNNING", min=0)]
StartS = Annotated[float, typer.Option(envvar="STANDIN_START_S", min=0)]
Share = Annotated[float, typer.Option(envvar="STANDIN_ERROR_SHARE", min=0, max=1)]
Fail = Annotated[
    str, typer.Option(envvar="STANDIN_FAIL", help="exit: at once; unhealthy: never ready")
]


@app.command(context_settings=TAKES_ALL)
def serve(
    model: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    served_model_name: str = "",
    max_num_seqs: Seqs = 256,
    max_model_len: Seqs = 8192,
    custom_histogram_buckets: str = "{}",
    ttft_s: TtftS = 0.05,
    tpot_s: TpotS = 0.009,
    prefill_s_per_token: PrefillS = 0.0,
    tpot_s_per_running: RunningS = 0.0,
    start_s: StartS = 0.0,
    error_share: Share = 0.0,
    fail: Fail = "",
) -> None:
    """Serve until SIGTERM, then finish what runs."""
    _fail(fail)
    name = served_model_name or model
    latency = Latency(
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        prefill_s_per_token=prefill_s_per_token,
        tpot_s_per_running=tpot_s_per_running,
        start_s=start_s,
    )
    server = StandIn(
        model=name,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        latency=latency,
        metrics=ServerMetrics(name, buckets=json.loads(custom_histogram_buckets)),
        error_share=error_share,
        never_healthy=fail == "unhealthy",
    )
    _run(server, host, port)


@app.command(context_settings=TAKES_ALL)
def run_batch(
    model: Annotated[str, typer.Option()],
    input_file: Annotated[Path, typer.Option("--input-file", "-i")],
    output_file: Annotated[Path, typer.Option("--output-file", "-o")],
    port: int = 8000,
    served_model_name: str = "",
    max_num_seqs: Seqs = 256,
    max_model_len: Seqs = 8192,
    enable_metrics: Annotated[bool, typer.Option("--enable-metrics")] = False,
    ttft_s: TtftS = 0.05,
    tpot_s: TpotS = 0.009,
    start_s: StartS = 0.0,
    fail: Fail = "",
) -> None:
    """Answer a file of requests into another file, and end."""
    _fail(fail)
    name = served_model_name or model
    server = StandIn(
        model=name,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        latency=Latency(ttft_s=ttft_s, tpot_s=tpot_s, start_s=start_s),
        metrics=ServerMetrics(name),
    )
    metrics_port = port if enable_metrics else None
    try:
        asyncio.run(work_through(server, input_file, output_file, metrics_port))
    except (OSError, ValueError) as error:
        print(f"{input_file}: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


@app.command(context_settings=TAKES_ALL)
def launch_server(
    context: typer.Context,
    model_path: Annotated[str, typer.Option()],
    host: str = "127.0.0.1",
    port: int = 30000,
    served_model_name: str = "",
    max_running_requests: Seqs = 2048,
    context_length: Seqs = 8192,
    ttft_s: TtftS = 0.05,
    tpot_s: TpotS = 0.009,
    prefill_s_per_token: PrefillS = 0.0,
    tpot_s_per_running: RunningS = 0.0,
    start_s: StartS = 0.0,
    error_share: Share = 0.0,
    pool_tokens: Annotated[int, typer.Option(envvar="STANDIN_POOL_TOKENS")] = 400_000,
    weights_gib: Annotated[float, typer.Option(envvar="STANDIN_WEIGHTS_GIB")] = 15.0,
    kv_gib: Annotated[float, typer.Option(envvar="STANDIN_KV_GIB")] = 48.8,
    graphs_gib: Annotated[float, typer.Option(envvar="STANDIN_GRAPHS_GIB")] = 2.5,
    fail: Fail = "",
) -> None:
    """SGLang's server until SIGTERM."""
    _fail(fail)
    name = served_model_name or model_path
    metrics = ServerMetrics(name, buckets=buckets_in(context.args), names=NAMES)
    started = Started(
        pool_tokens=pool_tokens, weights_gib=weights_gib, kv_gib=kv_gib, graphs_gib=graphs_gib
    )
    tell_start(metrics, started, start_s)
    server = SglangStandIn(
        model=name,
        max_num_seqs=max_running_requests,
        max_model_len=context_length,
        latency=Latency(
            ttft_s=ttft_s,
            tpot_s=tpot_s,
            prefill_s_per_token=prefill_s_per_token,
            tpot_s_per_running=tpot_s_per_running,
            start_s=start_s,
        ),
        metrics=metrics,
        error_share=error_share,
        never_healthy=fail == "unhealthy",
    )
    _run(server, host, port)


def _run(server: StandIn, host: str, port: int) -> None:
    print(f"the stand-in serves {server.model} on {host}:{port}", flush=True)
    web.run_app(server.app(), host=host, port=port, print=None, shutdown_timeout=DRAIN_S)


def _fail(how: str) -> None:
    if how == "exit":
        print("the stand-in ends at once, as it was told to", file=sys.stderr)
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
