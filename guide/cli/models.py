"""`guide models`: the models that are known."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from guide.cli.options import Listing, ListingFormat


def models(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORD]...", help="Only models whose name holds all of these."),
    ] = None,
    output: ListingFormat = Listing.TABLE,
) -> None:
    """List the models of the catalogue; any other model works by its config.json
    (--model-config).
    """
    from guide.catalog import load
    from guide.cli import show
    from guide.models.arch import weight_counts
    from guide.models.precision import PRECISIONS
    from guide.report.tables import Table

    catalog = load()

    def item(name: str) -> dict[str, Any]:
        model = catalog.models[name]
        counted = weight_counts(model).total
        return {
            "name": name,
            "architecture": model.architecture,
            "parameters": model.parameters or counted,
            "layers": model.layers,
            "heads": model.heads,
            "kvHeads": model.kv_heads,
            "experts": model.experts or None,
            "maxContextTokens": model.max_context_tokens,
            "precision": PRECISIONS[model.precision].name,
            "base": model.base,
        }

    wanted = [word.casefold() for word in words or ()]
    items = [
        item(name)
        for name in sorted(catalog.models, key=str.lower)
        if all(word in name.casefold() for word in wanted)
    ]
    heads = ("model", "architecture", "parameters", "context", "precision", "made from")

    def table() -> Table:
        return Table(
            title=f"{len(items)} models",
            heads=heads,
            rows=tuple(
                (
                    row["name"],
                    row["architecture"],
                    f"{row['parameters'] / 1e9:.2f} B",
                    f"{row['maxContextTokens']:,}",
                    row["precision"],
                    row["base"] or "",
                )
                for row in items
            ),
            numeric=(2, 3),
        )

    show.listing(table, items, output)
