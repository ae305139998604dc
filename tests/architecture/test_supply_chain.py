"""What is downloaded is known by hash, and comes from where it is expected. Reads files alone."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LOCK: dict[str, Any] = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
PACKAGES = {f"{one['name']} {one.get('version')}": one for one in LOCK["package"]}
PYPI, FILES = "https://pypi.org/simple", "https://files.pythonhosted.org/packages/"


@pytest.mark.parametrize("name", PACKAGES)
def test_a_locked_package_comes_from_pypi_with_hashes(name: str):
    package = PACKAGES[name]
    if package["source"] == {"editable": "."}:
        return
    assert package["source"] == {"registry": PYPI}
    files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
    assert files
    for each in files:
        assert each["url"].startswith(FILES)
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", each["hash"])


def test_a_name_is_locked_to_one_version_or_told_apart_by_markers():
    names = [one["name"] for one in LOCK["package"]]
    for one in LOCK["package"]:
        assert names.count(one["name"]) == 1 or one.get("resolution-markers"), one["name"]


@pytest.mark.parametrize(
    ("file", "holds"), [("build", {"uv", "hatchling"}), ("compile", {"mypy", "setuptools"})]
)
def test_what_builds_is_pinned_with_hashes(file: str, holds: set[str]):
    text = (ROOT / f"hack/{file}-requirements.txt").read_text(encoding="utf-8")
    rows = [row.split() for row in text.replace("\\\n", "").strip().splitlines()]
    assert holds <= {row[0].partition("==")[0] for row in rows}
    for name, *more in rows:
        hashes = [word for word in more if re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", word)]
        assert "==" in name
        assert hashes, name
    (backend,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert backend == "hatchling"


def test_the_image_downloads_only_what_has_a_hash():
    lines = (ROOT / "hack/Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    for line in lines:
        if "pip install" in line:
            assert "--require-hashes" in line or "--no-deps --no-index" in line, line
        if "uv sync" in line:
            assert "--locked" in line
        assert not re.search(r"\b(curl|wget|git clone|apt-get)\b", line), line


@pytest.mark.parametrize("file", sorted(ROOT.glob("hack/**/go.mod")), ids=str)
def test_go_modules_have_sums(file: Path):
    sums = file.with_name("go.sum").read_text(encoding="utf-8")
    text = file.read_text(encoding="utf-8")
    replaced = dict(re.findall(r"^\t(\S+) => \1 (v\S+)$", text, re.MULTILINE))
    for path, stated in re.findall(r"^\s*([\w./~-]+) (v\S+)", text, re.MULTILINE):
        version = replaced.get(path, stated)
        assert f"{path} {version}" in sums


@pytest.mark.parametrize("file", sorted((ROOT / ".github/workflows").glob("*")), ids=str)
def test_hosted_steps_are_pinned_by_commit(file: Path):
    for job in yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].values():
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"])
