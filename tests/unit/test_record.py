"""Records are frozen, and look like dataclasses to those who work with such."""

from __future__ import annotations

import dataclasses
import importlib
import pickle
import pkgutil
from collections.abc import Iterator

import pytest

import guide
from guide.domain import Lengths, Slo
from guide.record import Record

SHORT = Lengths(mean_tokens=100, p95_tokens=300)


def test_it_is_changed_as_dataclasses_are():
    longer = dataclasses.replace(SHORT, mean_tokens=200)
    assert longer == Lengths(mean_tokens=200, p95_tokens=300)
    assert SHORT.mean_tokens == 100
    with pytest.raises(TypeError, match="wrong"):
        dataclasses.replace(SHORT, wrong=1)  # pyright: ignore[reportCallIssue]


def test_it_is_read_as_dataclasses_are():
    assert dataclasses.is_dataclass(SHORT)
    assert [field.name for field in dataclasses.fields(SHORT)] == ["mean_tokens", "p95_tokens"]
    assert dataclasses.asdict(SHORT) == {"mean_tokens": 100, "p95_tokens": 300}


def test_it_cannot_be_changed_in_place():
    with pytest.raises(AttributeError):
        SHORT.mean_tokens = 5  # pyright: ignore[reportAttributeAccessIssue]


def test_it_is_a_key_and_survives_a_pipe():
    assert {SHORT: 1}[Lengths(mean_tokens=100, p95_tokens=300)] == 1
    assert pickle.loads(pickle.dumps(Slo(ttft_p95_s=0.5))) == Slo(ttft_p95_s=0.5)


def records() -> Iterator[type[Record]]:
    for module in pkgutil.walk_packages(guide.__path__, "guide."):
        if "fastgen_" in module.name or module.name.endswith("__main__"):
            continue  # programs of their own
        for one in vars(importlib.import_module(module.name)).values():
            if isinstance(one, type) and issubclass(one, Record) and one is not Record:
                yield one


@pytest.mark.parametrize("one", sorted(set(records()), key=lambda one: one.__qualname__))
def test_each_says_its_fields(one: type[Record]):
    assert one.__struct_config__.frozen
    assert [field.name for field in dataclasses.fields(one)] == list(one.__struct_fields__)
