"""How one weight matrix may be stored: bits, the weights that share a scale, and what scales take.

Sources: OCP Microscaling 1.0 (one 8-bit scale for 32 weights), NVFP4 (an 8-bit scale for 16), vLLM
0.33 for the layouts that it loads (compressed-tensors, GPTQ, AWQ, bitsandbytes).
"""

from __future__ import annotations

from guide.domain import BF16, Format

FP16 = Format(name="fp16", bits=16, compute="fp16")
PLAIN = {"bf16": BF16, "fp16": FP16}
MXFP4 = Format(name="mxfp4", bits=4, group_inputs=32, scale_bytes=1, compute="fp4")
MXFP8 = Format(name="fp8", bits=8, group_inputs=32, scale_bytes=1, compute="fp8")
_BLOCK = (128, 128)


def fp8(
    block: tuple[int, int] | None = None, *, per_row: bool = False, scale_bytes: float = 4
) -> Format:
    """8-bit floats: one scale a matrix, a row or a block of outputs x inputs."""
    if block is None:
        rows = {"group_outputs": 1} if per_row else {}
        return Format(
            name="fp8", bits=8, scale_bytes=scale_bytes if per_row else 0, compute="fp8", **rows
        )
    outputs, inputs = block
    return Format(
        name="fp8",
        bits=8,
        group_outputs=outputs,
        group_inputs=inputs,
        scale_bytes=scale_bytes,
        compute="fp8",
    )


def block_fp8(scale_bytes: float = 4) -> Format:
    """8-bit floats in blocks of 128 x 128, as DeepSeek publishes them."""
    return fp8(_BLOCK, scale_bytes=scale_bytes)


def nvfp4(group: int = 16, *, weight_only: bool = False) -> Format:
    """4-bit floats with an 8-bit scale for `group` weights of a row."""
    compute = "fp16" if weight_only else "fp4"
    return Format(name="nvfp4", bits=4, group_inputs=group, scale_bytes=1, compute=compute)


def integer(
    bits: int,
    group: int | None,
    *,
    zeros: bool = False,
    scale_bytes: float = 2,
    activations: bool = False,
) -> Format:
    """Integers with a scale for `group` weights of a row (None: the row), and a zero if `zeros`."""
    return Format(
        name="int8" if bits == 8 else "int4",
        bits=bits,
        group_outputs=1,
        group_inputs=group,
        scale_bytes=scale_bytes + (bits / 8 if zeros else 0),
        compute="int8" if bits == 8 and activations else "fp16",
    )


def normal_float(*, double: bool) -> Format:
    """bitsandbytes NF4: blocks of 64 with a 32-bit scale, or that quantised to 8 bits."""
    return Format(
        name="int4",
        bits=4,
        group_inputs=64,
        scale_bytes=1 + 4 / 256 if double else 4,
        compute="fp16",
    )
