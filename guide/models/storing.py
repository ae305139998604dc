"""A model with the formats of a checkpoint: each weight knows how it is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec.structs import replace

from guide.domain import BF16, Format, LayerGroup, ModelArch, Part
from guide.models.checkpoint import Scheme
from guide.models.formats import FP16, MXFP4, fp8, integer, nvfp4

RECIPES = {
    "bf16": Scheme(plain=BF16),
    "fp16": Scheme(plain=FP16),
    "fp8": Scheme(linear=fp8()),
    "int8": Scheme(linear=integer(8, None, activations=True)),
    "int4": Scheme(linear=integer(4, 128, zeros=True)),
    "mxfp4": Scheme(linear=MXFP4, experts_only=True),
    "nvfp4": Scheme(linear=nvfp4()),
}
"""The usual checkpoint of each precision, where no config says more."""


def stored(arch: ModelArch, scheme: Scheme) -> ModelArch:
    """`arch` as `scheme` stores it; its precision is the format of most of its weights."""
    groups = tuple(_stored(arch.groups, scheme, 0))
    counts: Counter[str] = Counter()
    for group in groups:
        for weight in group.weights:
            if weight.part is not Part.ROUTER:
                counts[weight.format.name] += group.count * weight.parameters
    precision = counts.most_common(1)[0][0] if counts else scheme.plain.name
    return replace(
        arch,
        groups=groups,
        mtp=tuple(_stored(arch.mtp, _plain(scheme) if scheme.mtp_plain else scheme, arch.layers)),
        head_format=scheme.head,
        precision=precision,
        kv_cache_dtype=scheme.kv_cache_dtype,
        notes=(*arch.notes, *scheme.notes),
    )


def _stored(groups: Iterable[LayerGroup], scheme: Scheme, first: int) -> Iterable[LayerGroup]:
    """The groups, split where layers that were alike are stored differently."""
    for group in groups:
        places: dict[tuple[Format, ...], list[int]] = {}
        usual: list[int] | None = None  # the layers that no list names
        for place in group.layers:
            apart = scheme.tells_apart(first + place)
            if apart or usual is None:
                formats = tuple(scheme.of(first + place, weight) for weight in group.weights)
                alike = places.setdefault(formats, [])
                usual = usual if apart else alike
            else:
                alike = usual
            alike.append(place)
        for formats, where in places.items():
            kept = zip(group.weights, formats, strict=True)
            weights = tuple(replace(weight, format=format_) for weight, format_ in kept)
            yield replace(group, layers=tuple(where), weights=weights)


def _plain(scheme: Scheme) -> Scheme:
    """The named formats of a scheme alone."""
    return replace(scheme, linear=None, experts=None)


def stored_bytes(arch: ModelArch) -> float:
    """Bytes of the whole checkpoint on disk, prediction layers included."""
    tables = arch.vocab * arch.hidden * 2.0
    if not arch.tied_embeddings:
        tables += arch.head_format.stored_bytes(arch.vocab, arch.hidden)
    layers = sum(
        g.count * (sum(w.stored_bytes for w in g.weights) + 2 * g.other_parameters)
        for g in (*arch.groups, *arch.mtp)
    )
    return layers + tables + 2 * (arch.tower_parameters + arch.extra_parameters)
