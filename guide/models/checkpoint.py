"""In which precision a checkpoint stores its weights, by its config.json."""

from __future__ import annotations

from guide.errors import shown
from guide.models.config import ConfigView

_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "bf16", "auto": "bf16"}
_BITS = {4: "int4", 8: "int8"}


def stored_precision(view: ConfigView) -> str:
    """Name in `guide.models.precision.PRECISIONS`; `SpecError` for a format not known here.

    32-bit checkpoints count as bf16, since both frameworks cast them when they load.
    """
    quantization = view.section("quantization_config")
    if quantization is None:
        dtype = view.text("dtype", "torch_dtype") or "bfloat16"
        name = dtype.removeprefix("torch.")
        if name not in _DTYPES:
            raise view.fail(
                f"config.json has dtype = {shown(dtype)}, but it must be one of "
                f"{', '.join(sorted(_DTYPES))}"
            )
        return _DTYPES[name]
    method = (quantization.text("quant_method") or "").lower()
    match method:
        case "fp8" | "fbgemm_fp8":
            return "fp8"
        case "mxfp4" | "gpt_oss_mxfp4":
            return "mxfp4"
        case "awq" | "gptq" | "awq_marlin" | "gptq_marlin" | "gptq_bitblas" | "auto-round":
            return _integer(view, quantization.count("bits", "w_bit", default=4), method)
        case "bitsandbytes":
            return "int4" if quantization.flag("load_in_4bit", False) else "int8"
        case "compressed-tensors":
            return _compressed_tensors(view, quantization)
        case "modelopt" | "modelopt_fp4":
            return _modelopt(view, quantization)
        case "quark":
            return _quark(view, quantization)
        case _:
            raise _unknown(view, method)


def _unknown(view: ConfigView, what: str) -> Exception:
    return view.fail(
        f"config.json has the quantisation {shown(what)}, which GUIDE does not know; use a "
        "checkpoint in bf16, fp16, fp8, int8, AWQ or GPTQ with 4 bits, MXFP4 or NVFP4"
    )


def _integer(view: ConfigView, bits: int, method: str) -> str:
    if bits not in _BITS:
        raise _unknown(view, f"{method} with {bits} bits")
    return _BITS[bits]


def _compressed_tensors(view: ConfigView, quantization: ConfigView) -> str:
    groups = quantization.section("config_groups")
    first = groups.first() if groups is not None else None
    weights = first.section("weights") if first is not None else None
    if weights is None:
        raise _unknown(view, "compressed-tensors without config_groups")
    bits = weights.count("num_bits")
    if weights.get("type") == "float":
        if bits == 8:
            return "fp8"
        if bits == 4:
            return "nvfp4" if weights.optional_count("group_size") == 16 else "mxfp4"
        raise _unknown(view, f"compressed-tensors float with {bits} bits")
    return _integer(view, bits, "compressed-tensors")


def _modelopt(view: ConfigView, quantization: ConfigView) -> str:
    nested = quantization.section("quantization") or quantization
    algorithm = (nested.text("quant_algo") or "").upper()
    names = {
        "FP8": "fp8",
        "FP8_PB_WO": "fp8",
        "NVFP4": "nvfp4",
        "W4A16_AWQ": "int4",
        "MXFP4": "mxfp4",
    }
    if algorithm not in names:
        raise _unknown(view, f"modelopt {algorithm or 'without quant_algo'}")
    return names[algorithm]


def _quark(view: ConfigView, quantization: ConfigView) -> str:
    settings = quantization.section("global_quant_config")
    weight = settings.section("weight") if settings is not None else None
    dtype = (weight and weight.text("dtype")) or "without a dtype in global_quant_config"
    names = {"fp4": "mxfp4", "fp8_e4m3": "fp8", "int8": "int8", "int4": "int4"}
    if dtype not in names:
        raise _unknown(view, f"quark {dtype}")
    return names[dtype]
