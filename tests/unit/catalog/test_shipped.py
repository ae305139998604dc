"""Shipped YAML kept parsed: the same document, and never a stale one."""

from __future__ import annotations

import json
import sys
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from guide.shipped import parsed

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    path = tmp_path / "rows.yaml"
    path.write_text("rows: [{name: a, as_of: 2026-11-25, share: 0.1}]\n", encoding="utf-8")
    return path


def kept(file: Path) -> Path:
    return Path(cache_from_source(str(file))).with_suffix(".json")


@pytest.mark.parametrize(
    "name", sorted(str(f.relative_to(ROOT)) for f in ROOT.glob("guide/**/*.yaml"))
)
def test_every_shipped_file_survives(name: str):
    text = (ROOT / name).read_text(encoding="utf-8")
    loaded = yaml.safe_load(text)
    assert parsed(ROOT / name) == json.loads(json.dumps(loaded, default=str))
    assert all(isinstance(key, str) for key in _keys(loaded)), "JSON has no other keys"


def _keys(value: Any) -> list[Any]:
    if isinstance(value, dict):
        mapping = cast("dict[Any, Any]", value)
        return [k for key, one in mapping.items() for k in (key, *_keys(one))]
    if isinstance(value, list):
        return [k for one in cast("list[Any]", value) for k in _keys(one)]
    return []


def test_a_second_reading_does_not_parse(file: Path, monkeypatch: pytest.MonkeyPatch):
    first = parsed(file)
    assert first == {"rows": [{"name": "a", "as_of": "2026-11-25", "share": 0.1}]}

    def fail(*_: object, **__: object) -> object:
        raise AssertionError("parsed again")

    monkeypatch.setattr(yaml, "load", fail)
    assert parsed(file) == first


def test_a_changed_file_is_parsed_again(file: Path):
    parsed(file)
    file.write_text("rows: []\n", encoding="utf-8")
    assert parsed(file) == {"rows": []}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sha256": 1}', "null"])
def test_what_is_kept_may_be_damaged(file: Path, text: str):
    first = parsed(file)
    kept(file).write_text(text, encoding="utf-8")
    assert parsed(file) == first


def test_nothing_is_kept_where_python_keeps_nothing(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    parsed(file)
    assert not kept(file).exists()


def test_where_nothing_can_be_written_the_file_is_read_all_the_same(file: Path):
    (file.parent / "__pycache__").write_text("in the way", encoding="utf-8")
    assert parsed(file) == {"rows": [{"name": "a", "as_of": "2026-11-25", "share": 0.1}]}
