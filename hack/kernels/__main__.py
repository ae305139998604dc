"""Fits the forms of `guide.perf.kernels.forms` to measured kernels: ``make kernels``.

Reads the tables of the wheel in the dependency group ``kernels`` and writes
`guide/catalog/kernels/<GPU>.yaml`: constants, rows and errors of every level, residual tables of
GEMMs and experts, and the measured all-reduces. An argument names another folder of tables.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from guide.catalog import load
from guide.domain import Gpu
from guide.perf.kernels.residual import AXES, SCALE
from hack.kernels.families import STARTS, places, predicted
from hack.kernels.fitting import Fitted, factor, fit_form, fit_residual, rated
from hack.kernels.sources import (
    GEMM_SOURCES,
    GPUS,
    LATENT_SOURCES,
    WHEEL,
    Table,
    data_folder,
    tables,
)

OUT = Path("guide/catalog/kernels")
FEWEST = 60  # rows that make a level
HEADER = f"""\
# Written by `make kernels` from {WHEEL}; do not edit. One fitted form a
# level: times in us, shares of the roofs; error: median and p90 of |form / measured - 1|
# in %, with the residual table where there is one (thousandths of log(measured / form)).
"""


def main() -> None:
    """Fit every GPU and write its file."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else data_folder()
    catalog = load()
    OUT.mkdir(exist_ok=True)
    for name, ours in GPUS.items():
        lines = [_roofs(catalog.gpus[ours]), "levels:"]
        for table in _wanted(root, name):
            line = _line(table, catalog.gpus[ours])
            if line:
                lines.append(line)
        lines += ["all_reduce:", *_all_reduces(root, name)]
        text = HEADER + "\n".join(lines) + "\n"
        (OUT / f"{ours}.yaml").write_text(text, encoding="utf-8")
        print(f"{ours}: {len(lines)} rows, {len(text) / 1e3:.0f} kB", flush=True)


def _roofs(gpu: Gpu) -> str:
    """The datasheet that the shares refer to, in the names and units of `guide.domain.Gpu`."""
    names = ("hbm_bytes_per_s", "fp16_flop_per_s", "fp8_flop_per_s", "fp4_flop_per_s")
    rows = [f"{n}: {v:.0f}" for n in names if (v := getattr(gpu, n))]
    return f"roofs: {{{', '.join(rows)}, multiprocessors: {gpu.multiprocessors}}}"


def _wanted(root: Path, gpu: str) -> Iterator[Table]:
    for dtype, frameworks in GEMM_SOURCES.items():
        for framework in frameworks:
            found = [t for t in tables(root, gpu, "gemm", framework) if t.dtype == dtype]
            yield from found
            if found:
                break
    yield from _experts(list(tables(root, gpu, "moe", "vllm")))
    yield from tables(root, gpu, "decode", "vllm")
    yield from tables(root, gpu, "prefill", "vllm")
    for family in ("latent decode", "latent prefill"):
        for framework in LATENT_SOURCES:
            found = list(tables(root, gpu, family, framework))
            yield from found
            if found:
                break


def _experts(found: list[Table]) -> Iterator[Table]:
    """Balanced routing, and where that was not measured the mildest skew."""
    mildest: dict[tuple[str, str], Table] = {}
    for table in sorted(found, key=lambda t: t.dtype):  # balanced before power_law_1.01
        dtype = table.dtype.partition("/")[0]
        mildest.setdefault((dtype, table.kernel), table)
    yield from mildest.values()


def _line(table: Table, gpu: Gpu) -> str | None:
    if len(table.seconds) < FEWEST:
        return None
    family = table.family.split()[0] if table.family.startswith("latent") else table.family
    fitted = fit_form(
        lambda constants, columns: predicted(table.family, gpu, table.dtype, constants, columns),
        STARTS[family],
        table.columns,
        table.seconds,
    )
    residual = ""
    if table.family in AXES:
        fitted, residual = _with_residual(table, gpu, fitted)
    constants = ", ".join(f"{name}: {value:g}" for name, value in fitted.constants.items())
    return (
        f"- {{family: {table.family}, dtype: {table.dtype}, kernel: {table.kernel},"
        f" source: {table.source}, rows: {fitted.count}, error: [{fitted.median}, {fitted.p90}],"
        f" constants: {{{constants}}}{residual}}}"
    )


def _with_residual(table: Table, gpu: Gpu, fitted: Fitted) -> tuple[Fitted, str]:
    form = predicted(table.family, gpu, table.dtype, fitted.constants, table.columns)
    at, axes = places(table.family, table.columns), AXES[table.family]
    found = np.rint(fit_residual(np.log(table.seconds / form), at, list(axes)) * SCALE)
    better = form * factor(found / SCALE, axes, *at.T)
    text = " ".join(str(int(v)) for v in found.ravel())
    return rated(fitted.constants, better, table.seconds), f', residual: "{text}"'


def _all_reduces(root: Path, gpu: str) -> Iterator[str]:
    """The measured points, made monotone; a message counts elements of two bytes."""
    for table in tables(root, gpu, "all-reduce", "vllm"):
        for gpus in np.unique(table.columns["num_gpus"]):
            chosen = table.columns["num_gpus"] == gpus
            order = np.argsort(table.columns["message_size"][chosen])
            size = table.columns["message_size"][chosen][order] * 2
            us = np.maximum.accumulate(table.seconds[chosen][order]) * 1e6
            yield (
                f"- {{mode: {table.dtype}, gpus: {gpus:g}, source: {table.source},"
                f" bytes: [{', '.join(f'{v:g}' for v in size)}],"
                f" us: [{', '.join(f'{v:.4g}' for v in us)}]}}"
            )


if __name__ == "__main__":
    main()
