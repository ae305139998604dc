"""The flags that several commands share, with one spelling and one help text."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Output(StrEnum):
    """Forms of output."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class Listing(StrEnum):
    """Forms of output of commands that list things, as kubectl has them."""

    TABLE = "table"
    WIDE = "wide"
    NAME = "name"
    JSON = "json"
    YAML = "yaml"


PlanFile = Annotated[
    Path, typer.Option("-f", "--filename", help="The InferencePlan, YAML or JSON; - reads stdin.")
]
TraceFile = Annotated[
    Path,
    typer.Option(
        "--trace",
        help="CSV with a header, or JSON Lines: arrival_s, input_tokens, output_tokens; - reads"
        " stdin.",
    ),
]
OptionalPlanFile = Annotated[
    Path | None,
    typer.Option(
        "-f",
        "--filename",
        help="The InferencePlan, YAML or JSON; - reads stdin. Absent: --model, --gpu and --rps or"
        " --users ask.",
    ),
]
NodesFile = Annotated[
    Path | None,
    typer.Option(
        "--nodes",
        help="Output of `kubectl get nodes -o yaml` or json. Absent: the kube context.",
    ),
]
Rent = Annotated[
    bool,
    typer.Option(
        "--rent",
        help="Instead of a cluster: every GPU that has a reference price, up to four nodes of each"
        " size that is sold.",
    ),
]
PodsFile = Annotated[
    Path | None,
    typer.Option("--pods", help="Output of `kubectl get pods -A -o yaml` or json, with --nodes."),
]
SlicesFile = Annotated[
    Path | None,
    typer.Option(
        "--slices",
        help="Output of `kubectl get resourceslices,resourceclaims -A -o yaml` or json (Dynamic"
        " Resource Allocation), with --nodes.",
    ),
]
NodePoolsFile = Annotated[
    Path | None,
    typer.Option(
        "--node-pools",
        help="Node pools that an autoscaler could add: YAML with nodePools, each with name, gpu,"
        " gpusPerNode, maxNodes, nodeSelector and, where known, tolerations, usdPerHour.",
    ),
]
GpusFile = Annotated[
    Path | None,
    typer.Option(
        "--gpus",
        envvar="GUIDE_GPUS",
        help="More GPU specifications, in the format of guide/catalog/gpus.yaml.",
    ),
]
PricesFile = Annotated[
    Path | None,
    typer.Option(
        "--prices",
        envvar="GUIDE_PRICES",
        help="Your own prices, before the shipped ones: YAML with instances (provider,"
        " instance_type, usd_per_h, as_of, source) or rows (gpu, provider, usd_per_gpu_h, ...).",
    ),
]
ModelConfig = Annotated[
    Path | None,
    typer.Option(
        "--model-config", help="The model's published config.json, or the folder it lies in."
    ),
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        envvar="GUIDE_CALIBRATION",
        help="Fits written by `guide calibrate`, instead of the shipped ones.",
    ),
]
Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder that `guide render --out` wrote.")
]
CandidateNumber = Annotated[
    int, typer.Option("--candidate", min=1, help="Which of the top three: 1 is the best.")
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        envvar="GUIDE_TIMEOUT",
        min=0.01,
        help="Seconds of computing after which the question is given up. Absent: no limit.",
    ),
]
ListingFormat = Annotated[
    Listing,
    typer.Option(
        "-o", "--output", help="Form of the output; wide: more tables, name: names alone."
    ),
]
OutputFormat = Annotated[Output, typer.Option("-o", "--output", help="Form of the output.")]
