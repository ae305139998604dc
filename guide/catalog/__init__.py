"""Facts, fits and prices: read from YAML, checked, and converted to `guide.domain.Catalog`.

`gpus.yaml`, `models.yaml`, `frameworks.yaml` and `memory.yaml` hold facts, `prices.yaml` prices and
`calibration.yaml` fits (written by ``guide calibrate``; absent, no fit is known). A bad row refuses
to load, with one sentence (`CatalogError`).
"""

from __future__ import annotations

from pathlib import Path

from guide.catalog.finding import find_gpu as find_gpu
from guide.catalog.finding import product_key as product_key
from guide.catalog.finding import release as release
from guide.domain import Catalog
from guide.shipped import compiled

_HERE = Path(__file__).parent


def load(
    extra_gpus: Path | None = None, prices: Path | None = None, calibration: Path | None = None
) -> Catalog:
    """The shipped catalogue, with files of the user: see `guide.catalog.reading.read`.

    Without such files it is read and checked once, and from then on unpickled: a tenth of a second
    less, and no Pydantic model of a row is built.
    """

    def build() -> Catalog:
        from guide.catalog.reading import read

        return read(_HERE, extra_gpus, prices, calibration)

    if extra_gpus or prices or calibration:
        return build()
    return compiled(_HERE / "catalog.yaml", sorted(_HERE.glob("*.yaml")), build)
