"""A measured run as a row of a CSV file, to be varied."""

from __future__ import annotations

import csv
from pathlib import Path

ROW = {
    "id": "a1",
    "source": "nobody",
    "framework": "vllm",
    "framework_version": "0.10.0",
    "model": "meta-llama/Llama-3.1-8B",
    "precision": "bf16",
    "gpu": "H100-SXM",
    "tp": "1",
    "kind": "concurrency",
    "batch_or_concurrency": "8",
    "isl": "500",
    "osl": "100",
    "note": "",
}


def row(**changed: object) -> dict[str, str]:
    return {**ROW, **{name: str(value) for name, value in changed.items()}}


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
