"""Shipped YAML kept parsed, and what is built from it kept whole: the same, and never stale."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

import guide.shipped
from guide.catalog import load
from guide.catalog.reading import read
from guide.shipped import compiled, parsed

ROOT = Path(__file__).resolve().parents[3]
CATALOG = ROOT / "guide/catalog"


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


class Build:
    """Counts how often it is asked, and reads its file anew each time."""

    def __init__(self, file: Path) -> None:
        self.file, self.asked = file, 0

    def __call__(self) -> str:
        self.asked += 1
        return self.file.read_text(encoding="utf-8")

    def kept(self) -> str:
        return compiled(self.file.with_name("rows"), [self.file], self)


def test_what_is_built_is_built_once(file: Path):
    build = Build(file)
    assert build.kept() == build.kept() == file.read_text(encoding="utf-8")
    assert build.asked == 1


@pytest.mark.parametrize("change", ["content", "time", "module", "version"])
def test_what_is_built_is_built_again_once_anything_behind_it_changes(
    file: Path, change: str, monkeypatch: pytest.MonkeyPatch
):
    build = Build(file)
    build.kept()
    if change == "content":
        file.write_text("rows: [{name: b}]\n", encoding="utf-8")
    elif change == "time":
        os.utime(file, ns=(1, 1))
    elif change == "module":
        monkeypatch.setattr(guide.shipped, "modules", lambda: "another")
    else:
        monkeypatch.setattr(guide.shipped, "__version__", "99.0.0")
    assert build.kept() == file.read_text(encoding="utf-8")
    assert build.asked == 2


def test_every_module_of_guide_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "room").mkdir()
    module = tmp_path / "room/part.py"
    module.write_text("A = 1\n", encoding="utf-8")
    monkeypatch.setattr(guide.shipped, "_PACKAGE", tmp_path)

    def seen() -> str:
        guide.shipped.modules.cache_clear()
        return guide.shipped.modules()

    first = seen()
    assert "part.py" in first
    os.utime(module, ns=(1, 1))
    assert seen() != first
    monkeypatch.undo()
    assert seen() != first


@pytest.mark.parametrize("content", [b"", b"short", b"0" * 200])
def test_what_is_kept_built_may_be_damaged(file: Path, content: bytes):
    build = Build(file)
    build.kept()
    pickled = Path(cache_from_source(str(file.with_name("rows")))).with_suffix(".pickle")
    stamp = pickled.read_bytes()[:32]
    for damaged in (content, stamp + content):
        pickled.write_bytes(damaged)
        assert build.kept() == file.read_text(encoding="utf-8")


def test_the_catalogue_is_the_same_built_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    built = read(CATALOG)
    assert load() == built
    assert list(tmp_path.rglob("*.pickle"))
    monkeypatch.setattr("guide.catalog.reading.read", None)
    assert load() == built
