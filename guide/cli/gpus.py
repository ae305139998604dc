"""`guide gpus`: the GPUs that are known."""

from __future__ import annotations

from typing import Any

from guide.cli.options import CalibrationFile, GpusFile, Listing, ListingFormat, PricesFile


def gpus(
    output: ListingFormat = Listing.TABLE,
    calibration: CalibrationFile = None,
    more: GpusFile = None,
    prices: PricesFile = None,
) -> None:
    """List the GPUs that are known, with peaks, price, source, and whether measurements stand
    behind them.
    """
    from guide.catalog import load
    from guide.cli import show
    from guide.domain import Catalog, Gpu
    from guide.report.tables import Table
    from guide.units import GB, GIB, TFLOP

    catalog: Catalog = load(extra_gpus=more, prices=prices, calibration=calibration)

    def item(gpu: Gpu) -> dict[str, Any]:
        price = catalog.prices.get(gpu.name)
        return {
            "name": gpu.name,
            "vendor": gpu.vendor,
            "generation": gpu.generation,
            "hbmGiB": round(gpu.hbm_bytes / GIB, 1),
            "hbmGBPerSecond": round(gpu.hbm_bytes_per_s / GB),
            "fp16TFLOPS": round(gpu.fp16_flop_per_s / TFLOP, 1),
            "fp8TFLOPS": None if gpu.fp8_flop_per_s is None else round(gpu.fp8_flop_per_s / TFLOP),
            "link": gpu.link.kind,
            "usdPerGPUHour": None if price is None else price.usd_per_gpu_h,
            "priceSource": None if price is None else price.source,
            "priceAsOf": None if price is None else price.as_of,
            "provenance": _provenance(catalog, gpu),
            "source": gpu.source,
        }

    items = [item(catalog.gpus[name]) for name in sorted(catalog.gpus)]
    heads = (
        "GPU", "GiB", "GB/s", "fp16 TFLOPS", "fp8 TFLOPS", "link", "USD/h", "as of", "numbers",
        "source",
    )  # fmt: skip
    keys = (
        "name", "hbmGiB", "hbmGBPerSecond", "fp16TFLOPS", "fp8TFLOPS", "link", "usdPerGPUHour",
        "priceAsOf", "provenance", "source",
    )  # fmt: skip

    def table() -> Table:
        return Table(
            title=f"{len(items)} GPUs",
            heads=heads,
            rows=tuple(
                tuple("–" if row[key] is None else str(row[key]) for key in keys) for row in items
            ),
            numeric=(1, 2, 3, 4, 6),
        )

    show.listing(table, items, output)


def _provenance(catalog: Any, gpu: Any) -> str:
    """Calibrated by framework, where any measurement of this GPU is behind the fits."""
    from guide.models.precision import PRECISIONS
    from guide.perf.fits import resolve
    from guide.search.space import modelled_release

    names = sorted({release.framework for release in catalog.releases})
    calibrated = [
        name
        for name in names
        if any(
            resolve(
                catalog, gpu, name, modelled_release(catalog, name).version, PRECISIONS[precision]
            ).provenance.value
            != "Extrapolated"
            for precision in ("fp16", "bf16", "fp8")
        )
    ]
    return f"Calibrated: {', '.join(calibrated)}" if calibrated else "Extrapolated"
