"""The layers of a model by kind: what each kind keeps of a sequence, and what it weighs."""

from __future__ import annotations

from collections import defaultdict

from guide.domain import SIXTEEN_BIT, Attention, AttentionKind, LayerGroup, ModelArch, Precision
from guide.models.arch import attention_bytes_per_token, state_bytes_per_sequence
from guide.models.precision import served_bytes, served_format, served_head_bytes
from guide.perf.weights import SIXTEEN_BIT_BYTES
from guide.record import Record

PLAIN = "16 bit"


class LayerKind(Record, frozen=True, kw_only=True):
    """Layers alike in token mixer and MLP, over all GPUs of a replica."""

    attention: str
    mlp: str
    layers: int  # 0: what stands around the layers
    cache_bytes_per_token: float  # of all of them, before windows forget
    state_bytes_per_sequence: float
    weight_bytes: dict[str, float]  # by format, the heaviest first


def layers_by_kind(
    model: ModelArch, precision: Precision, kv_element_bytes: float
) -> tuple[LayerKind, ...]:
    """The kinds of `model` served in `precision`, in the order of the stack; at the end tables,
    encoders and the like. Copies that several GPUs hold are counted once.
    """
    kinds: dict[tuple[str, str], list[LayerGroup]] = {}
    for group in sorted(model.groups, key=lambda group: group.layers[0]):
        kinds.setdefault((_attention(group.attention), _mlp(group)), []).append(group)
    return (
        *(
            LayerKind(
                attention=attention,
                mlp=mlp,
                layers=sum(group.count for group in groups),
                cache_bytes_per_token=sum(
                    group.count * attention_bytes_per_token(group.attention, kv_element_bytes)
                    for group in groups
                    if group.attention
                ),
                state_bytes_per_sequence=sum(
                    group.count * state_bytes_per_sequence(group.attention)
                    for group in groups
                    if group.attention
                ),
                weight_bytes=_weights(groups, model, precision),
            )
            for (attention, mlp), groups in kinds.items()
        ),
        _around(model, precision),
    )


def _attention(attention: Attention | None) -> str:
    if attention is None:
        return "none"
    windows = {cache.window_tokens for cache in attention.caches if cache.window_tokens}
    beside = attention.kind is AttentionKind.FULL and attention.state is not None
    kind = f"{attention.kind.value} beside linear" if beside else attention.kind.value
    return " ".join([kind, *(f"{window:,}" for window in sorted(windows))])


def _mlp(group: LayerGroup) -> str:
    mlp = group.mlp
    if mlp is None:
        return "none"
    if not mlp.experts:
        return "dense"
    shared = " + shared" if mlp.shared_width else ""
    return f"{mlp.active_experts} of {mlp.experts} experts{shared}"


def _weights(groups: list[LayerGroup], model: ModelArch, precision: Precision) -> dict[str, float]:
    counts: dict[str, float] = defaultdict(float)
    for group in groups:
        counts[PLAIN] += group.count * group.other_parameters * SIXTEEN_BIT_BYTES
        for weight in group.weights:
            held = group.count * served_bytes(weight, model, precision)
            counts[served_format(weight, model, precision)] += held
    return _joined(counts)


def _around(model: ModelArch, precision: Precision) -> LayerKind:
    table = model.vocab * model.hidden + model.tower_parameters + model.extra_parameters
    counts = defaultdict(float, {PLAIN: float(table * SIXTEEN_BIT_BYTES)})
    if not model.tied_embeddings:
        name = model.head_format.name if model.precision == precision.name else PLAIN
        counts[name] += served_head_bytes(model, precision)
    return LayerKind(
        attention="",
        mlp="embedding, head" + (", encoders" if model.tower_parameters else ""),
        layers=0,
        cache_bytes_per_token=0.0,
        state_bytes_per_sequence=0.0,
        weight_bytes=_joined(counts),
    )


def _joined(counts: dict[str, float]) -> dict[str, float]:
    """Both 16-bit formats under one name, the heaviest first."""
    joined: dict[str, float] = defaultdict(float)
    for name, count in counts.items():
        joined[PLAIN if name in SIXTEEN_BIT else name] += count
    return dict(sorted(joined.items(), key=lambda entry: -entry[1]))
