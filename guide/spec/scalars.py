"""Scalar types of an InferencePlan: each bound and pattern once, for pydantic and the CRD."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, WithJsonSchema
from pydantic_core import PydanticCustomError

from guide.errors import shown
from guide.frameworks import EXTRA_FLAGS

MAX_QUANTITY = 1_000_000
_DECIMAL = r"^[0-9]{1,7}([.][0-9]{1,6})?$"
_DNS_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
_LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
# A repository with an optional registry, then :tag, @digest or both.
_IMAGE = r"^[a-zA-Z0-9][a-zA-Z0-9._/:-]*(@sha256:[0-9a-f]{64})?$"


def _decimal(value: Any, *, zero: bool = False) -> Decimal:
    """An integer, a quoted decimal, or a float as its shortest decimal: files may hold one, though
    the API server takes none."""
    if isinstance(value, Decimal):
        return value
    whole = isinstance(value, int) and not isinstance(value, bool)
    text = (
        shown(value)
        if whole or isinstance(value, float)
        else value
        if isinstance(value, str)
        else ""
    )
    if len(text) > 16 or not re.fullmatch(_DECIMAL, text):
        raise PydanticCustomError(
            "quantity",
            "{value} is no positive decimal number up to {most}: write an integer such as 8 or a "
            "quoted "
            'decimal such as "2.5"',
            {"value": shown(value)[:40], "most": f"{MAX_QUANTITY:,}"},
        )
    number = Decimal(text)
    if number > MAX_QUANTITY or not (number or zero):
        raise PydanticCustomError(
            "quantity",
            "{value} is out of range: it {must}",
            {"value": text, "must": _range(zero=zero)},
        )
    return number


def _quantity(value: Any) -> Decimal:
    return _decimal(value)


def _rate(value: Any) -> Decimal:
    return _decimal(value, zero=True)


def _range(*, zero: bool) -> str:
    return f"must be {'0 or more' if zero else 'above 0'} and at most {MAX_QUANTITY:,}"


_QUANTITY_SCHEMA = {
    "x-kubernetes-int-or-string": True,
    "pattern": _DECIMAL,
    "maxLength": 16,
    "x-kubernetes-validations": [
        {
            # what is no number is said by the pattern, once
            "rule": f"type(self) == string && !self.matches('{_DECIMAL}') || "
            f"double(self) > 0.0 && double(self) <= {MAX_QUANTITY}.0",
            "message": _range(zero=False),
        }
    ],
}
# Without a rule, whose cost Kubernetes 1.32 estimates as if each item of a list were megabytes.
_RATE_SCHEMA = {
    "x-kubernetes-int-or-string": True,
    "pattern": r"^([0-9]{1,6}([.][0-9]{1,6})?|1000000([.]0{1,6})?)$",
    "maxLength": 16,
    "minimum": 0,
    "maximum": MAX_QUANTITY,
}


def seconds_of(duration: str) -> int:
    """Seconds of a duration as plans write it: 6h, 90m, 1h30m, 45s."""
    parts = re.findall(r"([0-9]+)([hms])", duration)
    return sum(int(count) * {"h": 3600, "m": 60, "s": 1}[unit] for count, unit in parts)


DURATIONS = ("spec.workload.offline.completeWithin",)


def duration_of(seconds: float) -> str:
    """The other way round, no shorter than `seconds`: 5400 is 1h30m."""
    minutes, s = divmod(math.ceil(seconds), 60)
    h, m = divmod(minutes, 60)
    return "".join(f"{count}{unit}" for count, unit in ((h, "h"), (m, "m"), (s, "s")) if count)


def _some_time(value: str) -> str:
    if seconds_of(value) == 0:
        raise PydanticCustomError(
            "duration", "{value} is no time: write one such as 6h or 1h30m", {"value": repr(value)}
        )
    return value


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({v for v in values if values.count(v) > 1})
    if twice:
        raise PydanticCustomError(
            "distinct", "{value} is listed twice: keep it once", {"value": twice[0]}
        )
    return values


def _extra_arg(value: str) -> str:
    flag = value.split("=", 1)[0]
    if flag not in EXTRA_FLAGS:
        raise PydanticCustomError(
            "extra_arg",
            "{flag} is not allowed here: GUIDE sets every flag that moves the operating point "
            "itself, and "
            "takes only {allowed}",
            {"flag": repr(flag), "allowed": ", ".join(sorted(EXTRA_FLAGS))},
        )
    return value


unique = AfterValidator(_distinct)

Tokens = Annotated[StrictInt, Field(ge=1, le=10_000_000)]
Count = Annotated[StrictInt, Field(ge=1, le=1_000_000)]
Milliseconds = Annotated[StrictInt, Field(ge=1, le=86_400_000)]
Duration = Annotated[
    str,
    Field(min_length=2, max_length=16, pattern=r"^([0-9]{1,4}h)?([0-9]{1,4}m)?([0-9]{1,5}s)?$"),
    AfterValidator(_some_time),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 2,
            "maxLength": 16,
            "pattern": r"^([0-9]{1,4}h)?([0-9]{1,4}m)?([0-9]{1,5}s)?$",
            "x-kubernetes-validations": [
                {
                    "rule": "duration(self) > duration('0s')",
                    "message": "must be some time, such as 6h or 1h30m",
                }
            ],
        }
    ),
]
Percent = Annotated[StrictInt, Field(ge=0, le=100)]
Quantity = Annotated[Decimal, BeforeValidator(_quantity), WithJsonSchema(_QUANTITY_SCHEMA)]
Rate = Annotated[Decimal, BeforeValidator(_rate), WithJsonSchema(_RATE_SCHEMA)]  # may be nothing
ModelName = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")
]
GpuName = Annotated[str, Field(min_length=1, max_length=64)]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=_DNS_NAME)]
DnsLabel = Annotated[str, Field(min_length=1, max_length=63, pattern=_DNS_LABEL)]
ConfigKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
LabelKey = Annotated[str, Field(min_length=1, max_length=317, pattern=_LABEL_KEY)]
LabelValue = Annotated[str, Field(max_length=63, pattern=_LABEL_VALUE)]
Image = Annotated[str, Field(min_length=1, max_length=512, pattern=_IMAGE)]
ExtraArg = Annotated[
    str,
    Field(
        min_length=3,
        max_length=512,
        pattern=r"^--[a-z0-9-]+(=[^\r\n]*)?$",
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "!self.startsWith('--') || "
                    f"self.split('=')[0] in {sorted(EXTRA_FLAGS)}",
                    "message": "GUIDE sets flags that move the operating point itself; allowed "
                    f"are {', '.join(sorted(EXTRA_FLAGS))}",
                }
            ]
        },
    ),
    AfterValidator(_extra_arg),
]
