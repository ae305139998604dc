"""The layers of a model by kind, as a table and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guide.insight.layers import LayerKind
from guide.report.tables import Table
from guide.units import GIB, format_bytes


def layers_table(kinds: Sequence[LayerKind], title: str) -> Table:
    """One row a kind, what stands around the layers last."""
    return Table(
        title=title,
        heads=("attention", "MLP", "layers", "cache a token", "state a sequence", "weights"),
        rows=tuple(
            (
                kind.attention,
                kind.mlp,
                f"{kind.layers}" if kind.layers else "",
                _or_none(f"{kind.cache_bytes_per_token:,.0f} bytes", kind.cache_bytes_per_token),
                _or_none(
                    format_bytes(kind.state_bytes_per_sequence), kind.state_bytes_per_sequence
                ),
                _weights(kind),
            )
            for kind in kinds
        ),
        numeric=(2, 3, 4),
    )


def _weights(kind: LayerKind) -> str:
    shown = {name: f"{count / GIB:.2f}" for name, count in kind.weight_bytes.items()}
    return ", ".join(f"{gib} GiB {name}" for name, gib in shown.items() if float(gib))


def _or_none(text: str, count: float) -> str:
    return text if count else ""


def layer_kind(kind: LayerKind) -> dict[str, Any]:
    """A kind as a document: base units."""
    return {
        "attention": kind.attention,
        "mlp": kind.mlp,
        "layers": kind.layers,
        "cacheBytesPerToken": round(kind.cache_bytes_per_token, 1),
        "stateBytesPerSequence": round(kind.state_bytes_per_sequence),
        "weightBytes": {name: round(count) for name, count in kind.weight_bytes.items()},
    }
