"""The measured tables: which file of the wheel holds which family, and its levels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as parquet  # pyright: ignore[reportMissingTypeStubs]

from guide.perf.kernels.levels import head_size

pq: Any = parquet  # it has no types
Floats = npt.NDArray[np.float64]
WHEEL = "aiconfigurator-core 0.12.0 (Apache-2.0)"
GPUS = {
    "a100_sxm": "A100-80GB",
    "h100_sxm": "H100-SXM",
    "h200_sxm": "H200",
    "b200_sxm": "B200",
    "b300_sxm": "B300",
    "gb200": "GB200",
    "l40s": "L40S",
    "rtx_pro_6000_server": "RTXPRO6000",
}  # name of the wheel: name in gpus.yaml
FILES = {
    "gemm": "gemm/{}/gemm_perf",
    "moe": "moe/{}/moe_perf",
    "decode": "attention/{}/generation_attention_perf",
    "prefill": "attention/{}/context_attention_perf",
    "latent decode": "mla/{}/mla_generation_module_perf",
    "latent prefill": "mla/{}/mla_context_module_perf",
    "all-reduce": "comm/{}/custom_allreduce_perf",
}
# Which framework's table speaks for which family. vLLM's block-FP8 GEMMs were measured with their
# launch (59 us on H100 whatever the shape), and so were its latent modules on Hopper (80 us):
# SGLang's DeepGEMM and TensorRT-LLM's modules are the same kernels captured in graphs.
GEMM_SOURCES = {
    "bfloat16": ("vllm",),
    "fp8": ("vllm",),
    "fp8_block": ("sglang", "vllm"),
    "nvfp4": ("vllm",),
    "int4_wo": ("trtllm",),
}
LATENT_SOURCES = ("trtllm", "vllm", "sglang")


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one level: columns by name, seconds measured."""

    gpu: str
    family: str
    framework: str
    version: str
    dtype: str
    kernel: str
    columns: dict[str, Floats]
    seconds: Floats

    @property
    def source(self) -> str:
        """Where the rows come from."""
        return f"{self.framework} {self.version}"


def data_folder() -> Path:
    """The tables of the wheel, which belongs to the dependency group `kernels`."""
    return Path(str(files("aiconfigurator_core"))) / "systems" / "data"


def _newest(folder: Path) -> Path | None:
    found = [p for p in folder.glob("*") if p.is_dir()]
    return max(found, key=lambda p: _numbers(p.name), default=None)


def _numbers(text: str) -> list[int]:
    return [int(part) if part.isdigit() else 0 for part in text.replace("rc", ".").split(".")]


def tables(root: Path, gpu: str, family: str, framework: str) -> Iterator[Table]:
    """Every level of a family that the newest version of a framework was measured in."""
    room, _, file = FILES[family].partition("/{}/")
    folder = _newest(root / gpu / room / framework)
    if folder is None or not (folder / f"{file}.parquet").exists():
        return
    rows = pq.read_table(folder / f"{file}.parquet")
    read = cast("dict[str, list[Any]]", rows.to_pydict())
    labels = _labels(family, read)
    texts = {name for name in read if read[name] and isinstance(read[name][0], str)}
    numbers = {
        name: np.array(values, dtype=float)
        for name, values in read.items()
        if name not in texts and values[0] is not None
    }
    keys = np.array(["\t".join(label) for label in labels])
    for key in np.unique(keys):
        chosen = keys == key
        dtype, kernel = key.split("\t")
        seconds = numbers["latency"][chosen] * 1e-3
        good = seconds > 0
        yield Table(
            gpu=GPUS[gpu],
            family=family,
            framework=framework,
            version=folder.name,
            dtype=dtype,
            kernel=kernel,
            columns={n: v[chosen][good] for n, v in numbers.items() if n != "latency"},
            seconds=seconds[good],
        )


def _labels(family: str, read: dict[str, list[str]]) -> list[tuple[str, str]]:
    """The data type (with what else cuts a level) and the kernel of every row."""
    kernels = read["kernel_source"]
    if family == "gemm":
        return list(zip(read["gemm_dtype"], kernels, strict=True))
    if family == "moe":
        pairs = zip(read["moe_dtype"], read["distribution"], kernels, strict=True)
        return [(f"{dtype}/{spread}", kernel) for dtype, spread, kernel in pairs]
    if family == "decode":
        return list(zip(read["kv_cache_dtype"], kernels, strict=True))
    if family == "prefill":
        sizes = [head_size(int(dim)) for dim in read["head_dim"]]
        pairs = zip(read["kv_cache_dtype"], sizes, kernels, strict=True)
        return [(f"{kv}/{size}", kernel) for kv, size, kernel in pairs]
    if family.startswith("latent"):
        pairs = zip(read["gemm_type"], read["kv_cache_dtype"], kernels, strict=True)
        return [(f"{gemm}/{kv}", kernel) for gemm, kv, kernel in pairs]
    backends = read["backend"]
    return [(b.split("_")[-1], k) for b, k in zip(backends, kernels, strict=True)]
