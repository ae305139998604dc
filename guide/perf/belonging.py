"""Which levels of the fits a case belongs to, from all GPUs down to one model on one of them."""

from __future__ import annotations

from collections.abc import Iterable

from guide.domain import SIXTEEN_BIT, FitTable, Gpu, ModelArch, Precision

Key = tuple[str, str]
WIDEST: Key = ("kernels", "*")  # the level of all steps that measured kernels price
GPU_LEVELS = ("gpu", "gpu-engine", "precision-gpu", "model-gpu")  # whose keys name a GPU


def version_family(framework: str, version: tuple[int, ...]) -> str:
    """Versions are pooled by minor release, in pairs: neighbours differ little."""
    if len(version) < 2:
        return f"{framework}-?"
    return f"{framework}-{version[0]}.{version[1] // 2 * 2}"


def shape_of(model: ModelArch) -> str:
    """What names a network: its shape, so that one network under two names is one."""
    attention = f"{model.heads}h{model.kv_heads}kv{model.head_dim}"
    experts = f"-{model.experts}e{model.active_experts}a{model.expert_ffn}" if model.experts else ""
    vocabulary = f"{model.vocab}t" if model.tied_embeddings else f"{model.vocab}"
    widths = f"{model.layers}x{model.hidden}-{attention}-{model.ffn}{experts}-{vocabulary}"
    return f"{model.architecture}-{widths}"


def levels(
    gpu: Gpu,
    engine: str,
    precision: Precision,
    model: ModelArch | None = None,
    *,
    version: str = "",
    source: str = "",
    kv_kernel: str = "",
    kernels: bool = False,
) -> list[Key]:
    """The levels that a case belongs to, from the widest to the narrowest; with `kernels`, those of
    steps that measured kernels price."""
    kernel = "16-bit" if precision.name in SIXTEEN_BIT else precision.name
    widest: list[Key] = [("all", "*"), ("vendor", gpu.vendor)]
    if kernels:
        widest = [WIDEST]
    keys: list[Key] = [
        *widest,
        ("engine", engine),
        ("generation", f"{gpu.generation}/{engine}" if kernels else gpu.generation),
        ("gpu", gpu.name),
        ("gpu-engine", f"{gpu.name}/{engine}"),
        ("link", gpu.link.kind),
        ("precision", f"{kernel}/{engine}"),
        ("precision-gpu", f"{kernel}/{gpu.name}/{engine}"),
    ]
    if kernels:
        keys.append(("precision-generation", f"{kernel}/{gpu.generation}/{engine}"))
    if version:
        keys += [("version", version), *([("kernels-version", version)] if kernels else [])]
    if model is not None:
        shape = shape_of(model) if kernels else model.base or model.name
        keys += [
            ("architecture", f"{model.architecture}/{engine}"),
            ("model", f"{shape}/{engine}"),
            ("model-gpu", f"{shape}/{kernel}/{gpu.name}/{engine}"),
        ]
        if kernels:
            keys.append(("model-generation", f"{shape}/{kernel}/{gpu.generation}/{engine}"))
    if source:
        keys.append(("source", f"{source}/{engine}" if kernels else source))
    if kv_kernel:  # an attention kernel of its own, such as paged FP8 of early releases
        keys.append(("kv-kernel", f"{kv_kernel}/{gpu.generation}"))
    return keys


def known_keys(table: FitTable, keys: Iterable[Key], gpu: Gpu) -> list[Key]:
    """The levels of a case, with an unmeasured version replaced by the nearest measured one, and
    an unmeasured GPU by its relative.

    Overheads fall over releases and stay down, so the nearest at or below speaks for a new release.
    """
    speaks = speaker(table, gpu)

    def known(level: str, key: str) -> str:
        if level in ("version", "kernels-version"):
            return _nearest_family(table, level, key)
        if level in GPU_LEVELS:
            return _renamed(key, gpu.name, speaks)
        return key

    return [(level, known(level, key)) for level, key in keys]


def at_another(table: FitTable, keys: Iterable[Key], gpu: Gpu, other: Gpu) -> list[Key]:
    """The same levels of the same case on another GPU of the generation."""
    before, after = speaker(table, gpu), speaker(table, other)

    def moved(level: str, key: str) -> str:
        if level == "link":
            return other.link.kind
        return _renamed(key, before, after) if level in GPU_LEVELS else key

    return [(level, moved(level, key)) for level, key in keys]


def speaker(table: FitTable, gpu: Gpu) -> str:
    """The GPU whose rows speak for `gpu`: itself, or its relative where it has none."""
    return gpu.relative if gpu.relative and not table.points.get(("gpu", gpu.name)) else gpu.name


def _renamed(key: str, before: str, after: str) -> str:
    return "/".join(after if part == before else part for part in key.split("/"))


def _nearest_family(table: FitTable, level: str, family: str) -> str:
    framework, _, wanted = family.rpartition("-")
    if wanted == "?":
        return family
    prefix = f"{framework}-"
    measured = sorted(
        (_numbers(key.removeprefix(prefix)), key)
        for one, key in table.rows
        if one == level and key.startswith(prefix) and not key.endswith("?")
    )
    below = [key for numbers, key in measured if numbers <= _numbers(wanted)]
    return below[-1] if below else family


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(x) for x in version.split("."))
