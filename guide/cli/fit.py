"""`guide fit`: does a model fit on a GPU, and how much is left for the KV cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guide.cli.options import GpusFile, Output, OutputFormat

if TYPE_CHECKING:
    from guide.domain import Catalog, Gpu, ModelArch

AUTO, ALL = "auto", "all"
MOST_TOKENS = 10_000_000


def fit(
    model: Annotated[
        str,
        typer.Option("--model", help="A Hugging Face id of the catalogue, or a path: config.json."),
    ],
    gpu: Annotated[
        list[str],
        typer.Option("--gpu", help="A GPU; given several times, or as all, also a table of them."),
    ],
    tp: Annotated[
        int | None,
        typer.Option("--tp", min=1, help="Tensor parallelism. Absent: the smallest that fits."),
    ] = None,
    pp: Annotated[int, typer.Option("--pp", min=1, help="Pipeline stages.")] = 1,
    dp: Annotated[
        int, typer.Option("--dp", min=1, help="Data-parallel ranks, which share the experts.")
    ] = 1,
    ep: Annotated[
        int, typer.Option("--ep", min=1, help="GPUs over which whole experts are spread.")
    ] = 1,
    precision: Annotated[
        str | None, typer.Option("--precision", help="Of the weights. Absent: the checkpoint's.")
    ] = None,
    utilization: Annotated[
        float | None,
        typer.Option(
            "--gpu-memory-utilization", min=0.01, max=1, help="Absent: the release's default."
        ),
    ] = None,
    max_model_len: Annotated[
        str | None,
        typer.Option(
            "--max-model-len", help="Tokens, or auto: what memory holds. Absent: the model's."
        ),
    ] = None,
    kv_cache_dtype: Annotated[
        str, typer.Option("--kv-cache-dtype", help="As the framework takes it.")
    ] = "auto",
    max_num_seqs: Annotated[
        int | None,
        typer.Option("--max-num-seqs", min=1, help="Absent: the default on that GPU."),
    ] = None,
    max_num_batched_tokens: Annotated[
        int | None,
        typer.Option("--max-num-batched-tokens", min=1, help="Absent: the default on that GPU."),
    ] = None,
    framework: Annotated[str, typer.Option("--framework", help="One that GUIDE models.")] = "vLLM",
    framework_version: Annotated[
        str | None, typer.Option("--framework-version", help="Absent: the newest modelled.")
    ] = None,
    gpus: GpusFile = None,
    output: OutputFormat = Output.TABLE,
) -> None:
    """Tell whether a server of this model starts, and what its log will say of memory: weights,
    KV cache in GiB and tokens, requests of the longest length at once, longest context.

    No plan, no cluster. Absent flags take the defaults of the API server of that release on that
    GPU. Exit code 0: it starts. 3: it does not. 2: bad input.
    """
    from guide.catalog import load, release
    from guide.cli import INFEASIBLE, OK, show
    from guide.report.fit import layouts, outcome, tables, to_document
    from guide.search.fit import FitQuestion, answer_fit, fit_table

    catalog = load(extra_gpus=gpus)
    known = release(catalog, framework, framework_version)
    question = FitQuestion(
        model=_model(model, catalog),
        release=known,
        version=framework_version or known.version,
        precision=precision,
        tp=tp,
        pp=pp,
        dp=dp,
        ep=ep,
        gpu_memory_utilization=utilization,
        max_model_len=_tokens(max_model_len),
        fit_model_len=max_model_len == AUTO,
        kv_cache_dtype=kv_cache_dtype,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
    )
    asked = _gpus(gpu, catalog)
    found = answer_fit(question, asked[0], catalog)
    several = tp is None or len(asked) > 1
    table = fit_table(question, asked, catalog) if several else []
    if output is not Output.TABLE:
        show.document(to_document(found, table), output)
    else:
        typer.echo(typer.style(outcome(found), bold=True))
        for note in found.notes:
            typer.echo(f"Note: {note}.")
        for one in tables(found):
            show.print_table(one)
        if table:
            show.print_table(layouts(table))
    raise typer.Exit(OK if found.fits else INFEASIBLE)


def _model(text: str, catalog: Catalog) -> ModelArch:
    """Of the catalogue by its name, or read from the file or folder of this path."""
    from guide.cli.checkpoint import read_checkpoint
    from guide.spec.resolve import known_model, model_of_config

    path = Path(text)
    if path.exists():
        return model_of_config(text, read_checkpoint(path))
    return known_model(text, catalog, "--model")


def _gpus(names: list[str], catalog: Catalog) -> list[Gpu]:
    from guide.question import known_gpu

    if names == [ALL]:
        return sorted(catalog.gpus.values(), key=lambda gpu: (gpu.vendor, gpu.hbm_bytes, gpu.name))
    return [known_gpu(name, catalog, "--gpu") for name in names]


def _tokens(text: str | None) -> int | None:
    from guide.errors import SpecError

    if text is None or text == AUTO:
        return None
    if not text.isdecimal() or not 0 < int(text) <= MOST_TOKENS:
        raise SpecError(
            f"--max-model-len is {text[:40]!r}, but it must be a whole number of tokens, or auto"
        )
    return int(text)
