"""The catalogue from its YAML files: every row checked by itself and against the others, then
converted to `guide.domain.Catalog`.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeVar, cast

import yaml
from pydantic import ValidationError

from guide.catalog.finding import dotted, product_key, rules_at
from guide.catalog.memory_rows import MemoryRow, memory_rules
from guide.catalog.release_rows import ReleaseRow
from guide.catalog.rows import (
    CalibrationRow,
    GpuRow,
    InstancePriceRow,
    ModelRow,
    PriceRow,
    ResidualRow,
    Row,
)
from guide.domain import (
    Catalog,
    FitTable,
    Gpu,
    InstancePrice,
    MemoryRules,
    ModelArch,
    Price,
    PriceList,
    Release,
)
from guide.errors import CatalogError, SpecError
from guide.frameworks import FRAMEWORKS
from guide.shipped import parsed

_log = logging.getLogger(__name__)

_HERE = Path(__file__).parent
_Document = Mapping[str, object]
_R = TypeVar("_R", bound=Row)


def read(
    home: Path,
    extra_gpus: Path | None = None,
    prices: Path | None = None,
    calibration: Path | None = None,
) -> Catalog:
    """Read and check the catalogue whose files are in `home`.

    `extra_gpus` adds rows in the format of ``gpus.yaml``; `prices` puts rows (of GPUs, of whole
    instances, or both) in the format of ``prices.yaml`` before the shipped ones; `calibration`,
    a file that ``guide calibrate`` wrote, takes the place of the shipped fits. Raises
    `CatalogError` with one sentence for a file or row that fails its checks; what is only unlikely
    of a GPU of the user is logged.
    """
    documents = {
        file: _read(home / file)
        for file in ("gpus.yaml", "models.yaml", "frameworks.yaml", "memory.yaml", "prices.yaml")
    }
    fits = calibration or home / "calibration.yaml"
    if calibration is not None or fits.exists():
        documents["calibration.yaml"] = _read(fits)
    gpu_rows = _rows(GpuRow, "gpus.yaml", documents["gpus.yaml"])
    if extra_gpus is not None:
        documents["extra gpus"] = _read(extra_gpus)
        own = _rows(GpuRow, str(extra_gpus), documents["extra gpus"])
        for row in own:
            if row.doubt:
                _log.warning("%s, %s: %s", extra_gpus, row.name, row.doubt)
        gpu_rows += own
    price_files = {"prices.yaml": documents["prices.yaml"]}
    if prices is not None:
        documents["extra prices"] = _read(prices, "rows", "instances")
        price_files = {str(prices): documents["extra prices"], **price_files}
    gpus = _gpus(gpu_rows)
    memory = memory_rules(_rows(MemoryRow, "memory.yaml", documents["memory.yaml"]))
    price_lists = tuple(_price_list(file, text, gpus) for file, text in price_files.items())
    return Catalog(
        gpus=gpus,
        models=_models(_rows(ModelRow, "models.yaml", documents["models.yaml"])),
        releases=_releases(
            _rows(ReleaseRow, "frameworks.yaml", documents["frameworks.yaml"]), memory
        ),
        prices={name: price for one in reversed(price_lists) for name, price in one.gpus.items()},
        price_lists=price_lists,
        memory=memory,
        fits=_fits(documents.get("calibration.yaml"), str(calibration or "calibration.yaml")),
        digest=_digest(documents),
        node_sizes={
            row.gpu: row.nodes
            for row in _rows(PriceRow, "prices.yaml", documents["prices.yaml"])
            if row.nodes
        },
    )


def _read(path: Path, *sections: str) -> _Document:
    try:
        ours = path.parent == _HERE
        document = parsed(path) if ours else yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read ({error}).") from error
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise CatalogError(f"{path}: is no valid YAML ({problem}).") from error
    content = cast("_Document", document if isinstance(document, dict) else {})
    wanted = sections or ("rows",)
    if not any(isinstance(content.get(section), list) for section in wanted):
        raise CatalogError(f"{path}: must be a mapping with a list under {' or '.join(wanted)}.")
    return content


def _rows(kind: type[_R], file: str, document: _Document, section: str = "rows") -> list[_R]:
    rows: list[_R] = []
    for number, raw in enumerate(cast("Sequence[object]", document.get(section) or ()), start=1):
        try:
            rows.append(kind.model_validate(raw))
        except ValidationError as error:
            raise CatalogError(f"{file}, row {number}{_named(raw)}: {_sentence(error)}") from error
    return rows


def _named(raw: object) -> str:
    if not isinstance(raw, dict):
        return ""
    fields = cast("Mapping[str, object]", raw)
    for key in ("name", "names", "gpu", "instance_type", "framework", "level"):
        if key in fields:
            value = fields[key]
            if isinstance(value, list):
                value = next(iter(cast("list[object]", value)), "")
            return f" ({value})"
    return ""


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "is no known field"
    elif first["type"] == "missing":
        message = "is missing"
    elif where:
        message = f"{message[0].lower()}{message[1:]} (got {first['input']!r})"
    return f"{where} {message}.".lstrip()


def _gpus(rows: Iterable[GpuRow]) -> dict[str, Gpu]:
    owner: dict[str, str] = {}
    gpus: dict[str, Gpu] = {}
    for row in rows:
        keys = [product_key(text) for text in (row.name, *row.aliases)]
        for text, key in zip((row.name, *row.aliases), keys, strict=True):
            if owner.get(key, row.name) != row.name or row.name in gpus:
                raise CatalogError(
                    f"GPU {row.name}: {text!r} already names the GPU {owner.get(key, row.name)}; "
                    "names and aliases must be unique."
                )
            owner[key] = row.name
        gpus[row.name] = row.to_domain()
    for gpu in gpus.values():
        if gpu.relative is not None and gpu.relative not in gpus:
            raise CatalogError(
                f"GPU {gpu.name}: its relative {gpu.relative} is in no row of the catalogue."
            )
    return gpus


def _models(rows: Iterable[ModelRow]) -> dict[str, ModelArch]:
    models: dict[str, ModelArch] = {}
    folded: set[str] = set()
    for row in rows:
        try:
            read = row.to_domain()
        except SpecError as error:
            raise CatalogError(f"models.yaml: {error}") from error
        except ValueError as error:
            raise CatalogError(f"models.yaml, {row.key}: {error}.") from error
        for model in read:
            if model.name.casefold() in folded:
                raise CatalogError(f"models.yaml: the name {model.name} occurs twice.")
            folded.add(model.name.casefold())
            models[model.name] = model
    for model in models.values():
        if model.base is not None and model.base not in models:
            raise CatalogError(f"models.yaml, {model.name}: its base {model.base} has no row.")
    return models


def _price_list(file: str, document: _Document, gpus: Mapping[str, Gpu]) -> PriceList:
    """The first row of each GPU and capacity, and all rows of instances."""
    on_demand: dict[str, Price] = {}
    spot: dict[str, Price] = {}
    for row in _rows(PriceRow, file, document):
        if row.gpu not in gpus:
            raise CatalogError(f"Price of {row.key}: no GPU of the catalogue is named {row.gpu}.")
        (spot if row.capacity == "spot" else on_demand).setdefault(row.gpu, row.to_domain())
    instances: dict[str, list[InstancePrice]] = {}
    for instance in _rows(InstancePriceRow, file, document, "instances"):
        instances.setdefault(instance.instance_type, []).append(instance.to_domain())
    return PriceList(
        instances={name: tuple(rows) for name, rows in instances.items()},
        gpus=on_demand,
        spot_gpus=spot,
    )


def _releases(
    rows: Iterable[ReleaseRow], memory: Mapping[str, tuple[MemoryRules, ...]]
) -> tuple[Release, ...]:
    releases = sorted(
        (row.to_domain(rules_at(memory, row.framework, dotted(row.version))) for row in rows),
        key=lambda r: (r.framework, r.since),
    )
    strangers = sorted({release.framework for release in releases} - FRAMEWORKS.keys())
    if strangers:
        raise CatalogError(f"frameworks.yaml: {strangers[0]} has no file in guide/frameworks.")
    for before, after in pairwise(releases):
        if before.framework == after.framework and before.until != after.since:
            raise CatalogError(
                f"frameworks.yaml: the {after.framework} ranges around "
                f"{'.'.join(map(str, after.since))} overlap or leave a gap."
            )
    return tuple(releases)


def _fits(document: _Document | None, file: str) -> FitTable:
    if document is None:
        return FitTable(rows={}, points={}, residuals={})
    rows = _rows(CalibrationRow, file, document)
    residuals = _rows(ResidualRow, file, document, "residuals")
    keys = [(row.level, row.key) for row in rows]
    if len(set(keys)) < len(keys):
        raise CatalogError(f"{file}: a level and key occur twice.")
    return FitTable(
        rows={key: row.values for key, row in zip(keys, rows, strict=True)},
        points={key: row.points for key, row in zip(keys, rows, strict=True)},
        residuals={(row.group, row.metric): row.half_width for row in residuals},
        evidence=str(document.get("evidence") or ""),
        notes={key: row.note for key, row in zip(keys, rows, strict=True) if row.note},
        reach={key: row.reach for key, row in zip(keys, rows, strict=True) if row.reach},
    )


def _digest(documents: Mapping[str, _Document]) -> str:
    """Of the content, so that comments and layout do not matter."""
    content = json.dumps(documents, sort_keys=True, default=str, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(content.encode()).hexdigest()
