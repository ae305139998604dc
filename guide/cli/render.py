"""`guide render`: write the manifests of the recommendation as a kustomize base."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from guide.cli.options import (
    CalibrationFile,
    GpusFile,
    ModelConfig,
    NodePoolsFile,
    NodesFile,
    Output,
    PlanFile,
    PodsFile,
    PricesFile,
    SlicesFile,
    Timeout,
)


class Format(StrEnum):
    """What is written, for whom."""

    KUSTOMIZE = "kustomize"
    INFERENCE_POOL = "inferencepool"
    HELM_VALUES = "helm-values"
    LLM_INFERENCE_SERVICE = "llminferenceservice"
    LEADER_WORKER_SET = "leaderworkerset"


class Autoscaling(StrEnum):
    """What scales the Deployment."""

    NONE = "none"
    HPA = "hpa"
    KEDA = "keda"
    WVA = "wva"


RenderFormat = Annotated[
    Format,
    typer.Option(
        "--format",
        help="kustomize: Deployments and a Service. inferencepool: Deployments behind a router of"
        " Gateway API's inference extension. helm-values: for the chart of the vLLM"
        " production stack. llminferenceservice: for KServe. leaderworkerset: replicas may span"
        " nodes.",
    ),
]


def render(
    filename: PlanFile,
    out: Annotated[Path, typer.Option("--out", help="Folder for the manifests; made if absent.")],
    nodes: NodesFile = None,
    pods: PodsFile = None,
    model_config: ModelConfig = None,
    calibration: CalibrationFile = None,
    slices: SlicesFile = None,
    node_pools: NodePoolsFile = None,
    gpus: GpusFile = None,
    prices: PricesFile = None,
    form: RenderFormat = Format.KUSTOMIZE,
    with_benchmark: Annotated[
        bool,
        typer.Option(
            "--with-benchmark",
            help="Add a Job that puts the planned load on the deployment for an hour. No"
            " kustomization lists it: start it by `kubectl create -f DIR/benchmark.yaml`.",
        ),
    ] = False,
    autoscaling: Annotated[
        Autoscaling,
        typer.Option(
            "--autoscaling",
            help="Of a plan with spec.workload.dayProfile. hpa: a HorizontalPodAutoscaler over"
            " requests/s of a pod, a custom metric. keda: a ScaledObject with the query. wva: a"
            " HorizontalPodAutoscaler that llm-d's workload-variant-autoscaler (0.9) steers. The"
            " Deployment then has no replicas.",
        ),
    ] = Autoscaling.NONE,
    timeout: Timeout = None,
) -> None:
    """Write the recommended deployment as a kustomize base with REVIEW.md, byte-identical for the
    same input.

    Beside the manifests lie plan.yaml and guide.lock.yaml, from which `guide check` tells whether
    the folder still holds. Exit code 0: written. 3: infeasible, nothing is written and every reason
    is printed. 2: bad input.
    """
    from guide.cli import INFEASIBLE, show
    from guide.cli.folder import write_folder
    from guide.cli.question import Extra, answer, ask
    from guide.gitops.folder import folder_files
    from guide.report.sentences import outcome

    extra = Extra(slices=slices, node_pools=node_pools, gpus=gpus, prices=prices)
    asked = ask(filename, nodes, pods, model_config, calibration, extra)
    question = asked.rendered_as(form.value)
    found = answer(question, timeout)
    if not found.feasible:
        show.recommendation(found, Output.TABLE)
        raise typer.Exit(INFEASIBLE)
    files = folder_files(
        question.written,
        found,
        question.catalog,
        question.inventory,
        form=form.value,
        model_config=question.config,
        benchmark=with_benchmark,
        autoscaling=autoscaling.value,
    )
    gone = write_folder(out, files)
    typer.echo(outcome(found))
    typer.echo(f"Wrote {len(files)} files to {out}; begin with {out / 'REVIEW.md'}.")
    if gone:
        typer.echo(f"Removed {', '.join(gone)}, left over from the rendering before.")
