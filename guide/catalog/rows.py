"""Row types of the catalogue files, in the units of their sources, with `to_domain` conversions.

Every check that can be made on one row is made here; `guide.catalog` makes those across rows.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from msgspec.structs import replace
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from guide.domain import (
    Gpu,
    InstancePrice,
    Link,
    ModelArch,
    Price,
    Slicing,
)
from guide.models.arch import weight_counts
from guide.models.checkpoint import scheme
from guide.models.config import ConfigView
from guide.models.families import read_config
from guide.models.storing import RECIPES, stored
from guide.units import GB, GIB, TFLOP

_USABLE_SHARE = 0.99  # of the advertised GiB, where no driver figure is known
_MOST_HBM_GIB = 512
_FP8_PER_16_BIT = 2.2
_FP4_PER_16_BIT = 8.5
_RIDGE_FLOP_PER_BYTE = (50, 1000)
_PARAMETER_TOLERANCE = 0.02

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]
AsOf = Annotated[
    str,
    BeforeValidator(
        lambda value: str(value) if isinstance(value, date) else value
    ),  # as YAML has it
    Field(pattern=r"^(unknown|\d{4}-\d{2}(-\d{2})?)$"),
]
PrecisionName = Literal["bf16", "fp16", "fp8", "int8", "int4", "mxfp4", "nvfp4"]


class Row(BaseModel):
    """Base of all rows: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class LinkRow(Row):
    """GPU-to-GPU link; ``gb_per_s`` is one direction."""

    kind: Literal["nvlink", "pcie", "xgmi", "xelink"]
    gb_per_s: Positive


class Tflops(Row):
    """Dense peaks by data type."""

    fp16: Positive
    bf16: Positive | None = None
    fp8: Positive | None = None
    fp4: Positive | None = None
    int8: Positive | None = None


class SlicingRow(Row):
    """Parts into which the hardware can cut a GPU."""

    compute: Count
    memory: Count


class GpuRow(Row):
    """One GPU by its datasheet."""

    name: Text
    vendor: Literal["nvidia", "amd", "intel"]
    generation: Text
    compute_capability: Annotated[str, Field(pattern=r"^\d+\.\d+$")] | None = None
    memory_gb: Annotated[float, Field(gt=0, le=_MOST_HBM_GIB)]
    hbm_gib: Positive | None = None
    cuda_gib: Positive | None = None
    bandwidth_gb_per_s: Positive
    tflops: Tflops
    link: LinkRow
    slicing: SlicingRow | None = None
    multiprocessors: Count | None = None
    relative: Text | None = None
    aliases: tuple[Text, ...] = ()
    source: Text

    @property
    def key(self) -> str:
        """What names the row in an error."""
        return self.name

    @property
    def usable_gib(self) -> float:
        """Memory that the driver hands out, GiB."""
        return self.hbm_gib or self.memory_gb * _USABLE_SHARE

    @model_validator(mode="after")
    def _physics(self) -> GpuRow:
        peaks = self.tflops
        if self.usable_gib > self.memory_gb:
            raise ValueError(
                f"hbm_gib {self.hbm_gib} exceeds the advertised memory_gb {self.memory_gb:g}"
            )
        for kind, peak, most in (
            ("fp8", peaks.fp8, _FP8_PER_16_BIT),
            ("fp4", peaks.fp4, _FP4_PER_16_BIT),
        ):
            if peak is not None and peak > most * peaks.fp16:
                raise ValueError(
                    f"tflops.{kind} {peak:g} is more than {most:g} times tflops.fp16 "
                    f"{peaks.fp16:g}; state dense peaks"
                )
        return self

    @property
    def doubt(self) -> str | None:
        """What is unlikely of a GPU, yet no contradiction."""
        ridge = self.tflops.fp16 * TFLOP / (self.bandwidth_gb_per_s * GB)
        low, high = _RIDGE_FLOP_PER_BYTE
        if low <= ridge <= high:
            return None
        return (
            f"tflops.fp16 over bandwidth_gb_per_s is {ridge:.0f} FLOP/byte, outside "
            f"{low} to {high}: check the units"
        )

    def to_domain(self) -> Gpu:
        """In base units."""

        def flop_per_s(tflops: float | None) -> float | None:
            return None if tflops is None else tflops * TFLOP

        capability = None
        if self.compute_capability is not None:
            major, minor = self.compute_capability.split(".")
            capability = (int(major), int(minor))
        return Gpu(
            name=self.name,
            vendor=self.vendor,
            generation=self.generation,
            aliases=self.aliases,
            hbm_bytes=self.usable_gib * GIB,
            visible_bytes=(self.cuda_gib or self.usable_gib) * GIB,
            hbm_bytes_per_s=self.bandwidth_gb_per_s * GB,
            fp16_flop_per_s=self.tflops.fp16 * TFLOP,
            bf16_flop_per_s=flop_per_s(self.tflops.bf16),
            fp8_flop_per_s=flop_per_s(self.tflops.fp8),
            fp4_flop_per_s=flop_per_s(self.tflops.fp4),
            int8_flop_per_s=flop_per_s(self.tflops.int8),
            compute_capability=capability,
            link=Link(kind=self.link.kind, bytes_per_s=self.link.gb_per_s * GB),
            source=self.source,
            slicing=self.slicing and Slicing(**self.slicing.model_dump()),
            multiprocessors=self.multiprocessors,
            relative=self.relative,
        )


class QuantizedRow(Row):
    """A quantised checkpoint of the row it stands in."""

    precision: PrecisionName
    quantization: dict[str, object] | None = None  # its quantization_config; default: the usual
    base: Text | None = None  # default: the first name of the row

    def of(self, arch: ModelArch) -> ModelArch:
        """`arch` as this checkpoint stores it."""
        if self.quantization is None:
            return stored(arch, RECIPES[self.precision])
        view = ConfigView(arch.name, {"quantization_config": self.quantization})
        found = stored(arch, scheme(view))
        if found.precision != self.precision:
            raise ValueError(
                f"its quantization stores most weights in {found.precision}, not {self.precision}"
            )
        return found


class ModelRow(Row):
    """Models of one architecture: ``config`` holds the fields of their config.json."""

    names: Annotated[tuple[Text, ...], Field(min_length=1)]
    parameters_b: Positive  # published, in 1e9
    source: Text
    config: dict[str, object]
    extra_parameters: Annotated[int, Field(ge=0)] = 0  # beyond what the family counts
    precision: PrecisionName | None = None  # default: by config (dtype, quantization_config)
    quantized: dict[Text, QuantizedRow] = Field(default_factory=dict[str, QuantizedRow])

    @property
    def key(self) -> str:
        """What names the row in an error."""
        return self.names[0]

    def to_domain(self) -> list[ModelArch]:
        """One architecture a name; ``ValueError`` where counted and published size differ."""
        read = read_config(self.key, self.config)
        arch = replace(
            read,
            extra_parameters=read.extra_parameters + self.extra_parameters,
            parameters=round(self.parameters_b * 1e9),
        )
        if self.precision is not None:
            arch = stored(arch, RECIPES[self.precision])
        counted = weight_counts(arch).total
        if abs(counted / arch.parameters - 1) > _PARAMETER_TOLERANCE:
            raise ValueError(
                f"its config counts {counted / 1e9:.2f} billion parameters, but parameters_b says "
                f"{self.parameters_b:g} (more than 2 % apart)"
            )
        models = [replace(arch, name=name) for name in self.names]
        models += [
            replace(row.of(arch), name=name, base=row.base or self.key)
            for name, row in self.quantized.items()
        ]
        return models


class PriceRow(Row):
    """What a provider asks for a GPU; or the median of several, with their lowest and highest."""

    gpu: Text
    provider: Text
    capacity: Literal["on-demand", "spot"] = "on-demand"
    usd_per_gpu_h: Positive
    low: Positive | None = None
    high: Positive | None = None
    sellers: Count = 1
    nodes: tuple[Count, ...] = ()  # GPUs a node, as nodes with this GPU are sold
    billed_gpus: Count = 1  # read and ignored: the nodes of a pool say what is billed together
    as_of: AsOf
    source: Text

    @property
    def key(self) -> str:
        """What names the row in an error."""
        return f"{self.gpu} at {self.provider}"

    def to_domain(self) -> Price:
        """With provider and capacity kept in the source."""
        return Price(
            usd_per_gpu_h=self.usd_per_gpu_h,
            low_usd_per_gpu_h=self.low,
            high_usd_per_gpu_h=self.high,
            sellers=self.sellers,
            source=f"{self.provider} {self.capacity}, {self.source}",
            as_of=self.as_of,
        )


class InstancePriceRow(Row):
    """What a provider asks for a whole instance."""

    provider: Text
    instance_type: Text
    gpu: Text | None = None  # and how many of it; None in prices of one's own
    gpus: int | None = None
    region: Text | None = None  # None: the same everywhere
    capacity: Literal["on-demand", "spot"] = "on-demand"
    usd_per_h: Positive
    as_of: AsOf
    source: Text

    def to_domain(self) -> InstancePrice:
        """With the whole row kept in the source."""
        place = f" in {self.region}" if self.region else ""
        return InstancePrice(
            provider=self.provider,
            instance_type=self.instance_type,
            gpu=self.gpu,
            gpus=self.gpus,
            region=self.region,
            spot=self.capacity == "spot",
            usd_per_h=self.usd_per_h,
            source=f"{self.provider} {self.instance_type}{place} {self.capacity}, {self.source}",
            as_of=self.as_of,
        )


class CalibrationRow(Row):
    """Fitted deviations in log space at one level of the hierarchy."""

    level: Text
    key: str
    points: Annotated[int, Field(ge=0)]
    values: dict[str, Annotated[float, Field(allow_inf_nan=False)]]
    note: str = ""  # a constant at its bound, too few points
    reach: tuple[float, float, float] | None = None  # largest load, prompt and output tokens


class ResidualRow(Row):
    """Half-width of the 90 % interval of `metric` in log space, over the rows of `group`."""

    group: str
    metric: Text
    half_width: Annotated[float, Field(ge=0, allow_inf_nan=False)]
