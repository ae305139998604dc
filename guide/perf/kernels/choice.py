"""Which measured kernel prices which operator on which GPU: `guide/catalog/kernels/choice.yaml`."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, cast

from msgspec.structs import replace

from guide.domain import SIXTEEN_BIT, Gpu, ModelArch, Precision
from guide.perf.kernels.forms import Width
from guide.perf.kernels.levels import WIDTHS, KernelLevel, head_size, levels
from guide.record import Record
from guide.shipped import kernel_document

UNPACKED = {"fp8": 1.0, "fp8-block": 1.0, "int8": 1.0, "int4": 0.52, "mxfp4": 0.53, "nvfp4": 0.5625}
MOST_SHARE = 1.0  # of a roof, after the scale of a relative
kept = lru_cache(maxsize=4096)  # every layout asks again; bounded, for what-ifs make GPUs up


class ChosenKernel(Record, frozen=True):
    """The level that prices an operator, and the bytes of an element of its weights."""

    level: KernelLevel
    width: Width
    relative: str = ""  # why another GPU's table speaks, or another format's


@cache
def _document() -> dict[str, Any]:
    return cast("dict[str, Any]", kernel_document("choice"))


def normalises_queries(arch: ModelArch) -> bool:
    """Whether the layers of an architecture normalise queries and keys."""
    return arch.architecture in _document()["normed"]["architectures"]


@kept
def table_gpu(gpu: Gpu) -> str | None:
    """The GPU whose tables price `gpu`: itself, its whole, or its relative; None without any."""
    name = gpu.parent or gpu.name
    if levels(name):
        return name
    return next((r["table"] for r in _document()["relatives"] if r["gpu"] == name), None)


def nvlink_bytes_per_s(table: str) -> float | None:
    """A direction of what linked the GPUs whose all-reduces a table holds; None: PCIe."""
    rate: float | None = _document()["over_nvlink"].get(table)
    return None if rate is None else rate * 1e9


@kept
def lesser_gpus(gpu: Gpu) -> tuple[Gpu, ...]:
    """GPUs that `gpu` is no slower than, since it has their datasheets: what it has of the best
    lines of those that another table prices."""
    table = table_gpu(gpu)
    rows = [row for row in _document()["lesser"] if gpu.generation in row["generations"]]
    return tuple(_at_most(gpu, row) for row in rows if table in row["tables"])


def _at_most(gpu: Gpu, row: dict[str, Any]) -> Gpu:
    """`gpu` as another, with no more than the lines of a datasheet."""
    tflops = cast("dict[str, float]", row["tflops"])

    def least(own: float | None, name: str) -> float | None:
        return None if own is None or name not in tflops else min(own, tflops[name] * 1e12)

    return replace(
        gpu,
        name=str(row["than"]),
        parent=None,
        hbm_bytes_per_s=min(gpu.hbm_bytes_per_s, row["gb_per_s"] * 1e9),
        fp16_flop_per_s=min(gpu.fp16_flop_per_s, tflops["fp16"] * 1e12),
        bf16_flop_per_s=least(gpu.bf16_flop_per_s, "fp16"),
        fp8_flop_per_s=least(gpu.fp8_flop_per_s, "fp8"),
        fp4_flop_per_s=least(gpu.fp4_flop_per_s, "fp4"),
        int8_flop_per_s=least(gpu.int8_flop_per_s, "int8"),
        multiprocessors=row["multiprocessors"],  # of the lesser: more, slower ones are no less
    )


def _relative(gpu: Gpu) -> dict[str, Any]:
    name = gpu.parent or gpu.name
    rows = cast("list[dict[str, Any]]", _document()["relatives"])
    nothing: dict[str, Any] = {}
    return next((row for row in rows if row["gpu"] == name), nothing)


def weights_of(arch: ModelArch, precision: Precision, family: str) -> str:
    """The weight format of an operator family, as the rules name it."""
    name = precision.name
    if name in SIXTEEN_BIT or (name == "mxfp4" and family == "gemm"):
        return "bf16"
    if name == "fp8":
        blocks = family == "moe" or arch.architecture in _document()["blocks"]["architectures"]
        return "fp8-block" if blocks else "fp8"
    return name


@kept
def choose(gpu: Gpu, family: str, weights: str, ranks: int = 1) -> ChosenKernel | None:
    """The level for an operator whose weights have a format, experts over `ranks` GPUs."""
    table = table_gpu(gpu)
    if table is None:
        return None
    why = str(_relative(gpu).get("why", ""))
    for rule in _document()["rules"]:
        if rule["family"] != family or rule["weights"] != weights:
            continue
        if gpu.generation not in rule.get("generations", (gpu.generation,)):
            continue
        if ranks > rule.get("most_ranks", ranks):
            continue
        found = _find(_source_gpu(table, family, rule["dtype"]), family, rule)
        if found:
            width = WIDTHS[rule["dtype"]]
            return ChosenKernel(_scaled(found, gpu), width, why)
    if weights in UNPACKED:
        plain = choose(gpu, family, "bf16", ranks)
        if plain:
            said = f"no {weights} kernel was measured: the 16-bit one with its weight bytes"
            return replace(plain, width=Width(UNPACKED[weights]), relative=said)
    return None


def _source_gpu(table: str, family: str, dtype: str) -> str:
    for row in _document()["borrowed"]:
        if (row["gpu"], row["family"], row["dtype"]) == (table, family, dtype):
            return str(row["from"])
    return table


def _find(gpu: str, family: str, rule: dict[str, Any]) -> KernelLevel | None:
    wanted = str(rule.get("kernel", ""))
    fits = (
        level
        for level in levels(gpu)
        if level.family == family
        and level.dtype.split("/")[0] == rule["dtype"]
        and wanted in level.kernel.lower()
    )
    return max(fits, key=lambda level: level.rows, default=None)


@kept
def attention_level(gpu: Gpu, family: str, kv: str, head_dim: int) -> ChosenKernel | None:
    """The level of decode or prefill attention: kv is bfloat16 or fp8."""
    table = table_gpu(gpu)
    if table is None:
        return None
    wanted = kv if family == "decode" else f"{kv}/{head_size(head_dim)}"
    own = [lv for lv in levels(table) if lv.family == family]
    for dtype in (wanted, wanted.replace("fp8", "bfloat16"), ""):  # at last, any head size
        fits = [lv for lv in own if lv.dtype in (dtype, dtype or lv.dtype)]
        fits = [lv for lv in fits if not _decodes(lv, family)]
        if fits:
            best = max(fits, key=lambda lv: lv.rows)
            return ChosenKernel(_scaled(best, gpu), Width(1.0 if kv == "fp8" else 2.0))
    return None


def _decodes(level: KernelLevel, family: str) -> bool:
    """Prefill tables hold a few rows of the decode kernel, chosen for the shortest prompts."""
    return family == "prefill" and "decode" in level.kernel


@kept
def latent(gpu: Gpu, phase: str, weights: str, kv: str) -> ChosenKernel | None:
    """The level of a latent-attention module, projections inside."""
    table = table_gpu(gpu)
    if table is None:
        return None
    dtype = {"bf16": "bfloat16", "fp8": "fp8_block", "fp8-block": "fp8_block"}.get(weights, weights)
    for first in (dtype, "bfloat16"):
        for cache_type in (kv, "bfloat16"):
            for level in levels(table):
                if level.family == f"latent {phase}" and level.dtype == f"{first}/{cache_type}":
                    return ChosenKernel(_scaled(level, gpu), WIDTHS[first])
    return None


def _scaled(level: KernelLevel, gpu: Gpu) -> KernelLevel:
    scale = cast("dict[str, float]", _relative(gpu).get("scale", {}))
    if not scale:
        return level
    constants = {
        name: min(MOST_SHARE, value * scale[name]) if name in scale else value
        for name, value in level.constants.items()
    }
    return replace(level, constants=constants)
