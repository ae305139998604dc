"""`make dist`: what it makes, and that the wheels work where nothing else is installed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import guide
from hack.dist import for_this_python, installed

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
NODES = ROOT / "examples/nodes.yaml"
CHAT = ROOT / "examples/chat.yaml"
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hack.dist", folder, "--home", "https://forge.test/guide")
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*-none-any.whl")
    return found


@pytest.fixture(scope="module")
def compiled(dist: Path) -> Path:
    """The wheel with machine code for this Python."""
    if (found := for_this_python(dist)) is None:
        pytest.skip(f"please install a C compiler and headers of {sys.version.split()[0]} on Linux")
    return found


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `guide` of an environment with the wheel and what it needs, no extras."""
    return installed(wheel, tmp_path_factory.mktemp("bare"))


def test_everything_is_there_and_summed(dist: Path):
    version = guide.__version__
    sums = dict(
        reversed(line.split("  ")) for line in (dist / "SHA256SUMS").read_text().splitlines()
    )
    compiled = {path.name for path in dist.glob("*-manylinux*.whl")}
    assert set(sums) - compiled == {
        f"guide_advisor-{version}-py3-none-any.whl",
        f"guide_advisor-{version}.tar.gz",
        f"guide-{version}.tgz",
        f"guide-crds-{version}.yaml",
        f"guide-{version}.cdx.json",
        "guide.bash",
        "guide.zsh",
        "guide.fish",
        f"kubectl-guide-{version}.tar.gz",
        "guide.krew.yaml",
    }
    for name, said in sums.items():
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == said


def test_the_krew_manifest_names_the_archive_and_its_sum(dist: Path):
    (platform,) = yaml.safe_load((dist / "guide.krew.yaml").read_text())["spec"]["platforms"]
    archive = dist / platform["uri"].rpartition("/")[2]
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == platform["sha256"]
    assert platform["bin"] in run("tar", "tzf", archive).split()


def test_the_completion_of_bash_is_a_script(dist: Path):
    run("bash", "-n", dist / "guide.bash")


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "-f", CHAT, "--nodes", NODES),
        ("explain", "-f", CHAT, "--nodes", NODES),
        ("fit", "--model", "meta-llama/Llama-3.1-8B-Instruct", "--gpu", "H100-SXM"),
        ("gpus",),
        ("models",),
    ],
    ids=lambda words: words[0],
)
def test_the_base_install_needs_no_extra(bare: Path, words: tuple[str | Path, ...], tmp_path: Path):
    done = subprocess.run([bare, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_extra_resolves_alone(bare: Path, wheel: Path, extra: str):
    python = bare.with_name("python")
    what = f"guide-advisor[{extra}] @ {wheel.as_uri()}"
    run(UV, "pip", "install", "--quiet", "--dry-run", "--python", python, what)


def test_machine_code_answers_as_the_source_does(bare: Path, compiled: Path, tmp_path: Path):
    fast = installed(compiled, tmp_path)
    where = "import guide.simulate.replica as loop; print(loop.__file__)"
    assert run(fast.with_name("python"), "-I", "-c", where).strip().endswith(".so")
    words = ("plan", "-f", CHAT, "--nodes", NODES, "-o", "json")
    assert run(fast, *words) == run(bare, *words)


def test_machine_code_passes_the_tests_of_the_simulator(compiled: Path, tmp_path: Path):
    """The golden answers, and the tests whose classes stay Python and look into compiled ones."""
    for name in ("tests", "hack", "examples", "docs", "charts", "README.md", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    run("unzip", "-q", compiled, "-d", tmp_path)
    properties = (f"tests/property/test_{name}.py" for name in ("simulator", "stream", "pipeline"))
    search = "tests/unit/search/test_speculation.py"
    rooms = ("tests/unit/simulate", "tests/golden", search, *properties)
    # machine code has no lines to count and no fields to list
    of_python = "not an_event_costs_the_same and not every_list_by_request"
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", of_python, *rooms)
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
