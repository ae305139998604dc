"""Container images for the node, built without a registry.

mmdebstrap makes the base, buildah the rest. Each is named by what it is made of, so that a tag
never means two things, and lies as an archive in the cache.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from hack.controlplane import progress
from hack.controlplane.build import ControlPlaneError, locked
from hack.node.configuration import PAUSE_IMAGE
from hack.node.programs import node_dir

ROOT = Path(__file__).resolve().parents[2]
# Debian's Python with pip, as `python:3.11-slim` has it, and a C compiler, as `python:3.11` has.
SUITE = "bookworm"
PACKAGES = ("python3.11", "python3-pip", "python3-venv", "python-is-python3", "ca-certificates")
COMPILER = ("gcc", "libc6-dev", "libpython3.11-dev")
MIRROR = os.environ.get("GUIDE_DEBIAN_MIRROR", "http://deb.debian.org/debian")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
OPERATOR_CONTEXT = (
    *("pyproject.toml", "uv.lock", "README.md", "LICENSE", "hack/Dockerfile"),
    *("hack/build-requirements.txt", "hack/compile-requirements.txt", "hack/compiled.py"),
    *("guide", "operator"),
)


def build_images(programs: Path) -> dict[str, Path]:
    """Build what is not in the cache; returns each image's reference and its archive.

    Raises ControlPlaneError with the last lines of a failed step.
    """
    with locked(node_dir() / "images.lock"):
        return {
            PAUSE_IMAGE: _pause(programs),
            (name := operator_image()): _from_dockerfile(
                name, ROOT / "hack" / "Dockerfile", base_image, _builder_image
            ),
        }


def operator_image() -> str:
    """The reference of the operator's image of this working tree."""
    return f"localhost/guide-operator:{_digest(_files(OPERATOR_CONTEXT))}"


def build_on_operator(name: str, dockerfile: Path) -> tuple[str, Path]:
    """An image on top of the operator's: its reference and archive.

    The tag follows the operator's and the files beside the Dockerfile.
    """
    files = [*_files(OPERATOR_CONTEXT), *_below(dockerfile.parent)]
    reference = f"localhost/{name}:{_digest(sorted(files))}"
    with locked(node_dir() / "images.lock"):
        return reference, _from_dockerfile(reference, dockerfile, operator_image)


def base_image() -> str:
    """The reference of Debian's Python; built when it is missing."""
    digest = hashlib.sha256(" ".join((SUITE, *PACKAGES)).encode()).hexdigest()[:12]
    name = f"localhost/python:{digest}"
    if _buildah("images", "--quiet", name, check=False).strip():
        return name
    progress.tell(f"building {name} from {MIRROR}: two minutes the first time")
    archive = node_dir() / f"rootfs-{digest}.tar"
    if not archive.exists():
        partial = archive.with_suffix(".partial.tar")
        _run(
            "mmdebstrap",
            *("--mode=root", "--variant=minbase", "--skip=check/empty", "--quiet"),
            f"--include={','.join(PACKAGES)}",
            *(f"--dpkgopt=path-exclude=/usr/share/{x}/*" for x in ("doc", "man", "locale")),
            '--aptopt=APT::Install-Recommends "false"',
            *(SUITE, str(partial), f"deb [signed-by={KEYRING}] {MIRROR} {SUITE} main"),
        )
        partial.rename(archive)
    container = _buildah("from", "scratch").strip()
    _buildah("add", "-q", container, str(archive), "/")
    # Debian keeps pip out of its own Python; in an image there is nobody to protect.
    _buildah("run", container, "--", "rm", "-f", "/usr/lib/python3.11/EXTERNALLY-MANAGED")
    path = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    _buildah("config", "--env", f"PATH={path}", "--cmd", "python3", container)
    _buildah("commit", "-q", "--rm", container, name)
    archive.unlink()
    return name


def _builder_image() -> str:
    """The same with a C compiler."""
    base = base_image()
    name = base.replace("/python:", "/python-builder:")
    if _buildah("images", "--quiet", name, check=False).strip():
        return name
    container = _buildah("from", "--pull-never", base).strip()
    get = "apt-get --quiet --option=APT::Sandbox::User=root"
    install = f"{get} update && {get} install --yes --no-install-recommends {' '.join(COMPILER)}"
    _buildah("run", container, "--", "sh", "-c", install)
    _buildah("commit", "-q", "--rm", container, name)
    return name


def _pause(programs: Path) -> Path:
    archive = node_dir() / "images" / f"pause-{programs.name}.tar"
    if not archive.exists():
        container = _buildah("from", "scratch").strip()
        _buildah("copy", "-q", container, str(programs / "pause"), "/pause")
        entry = ["--entrypoint", '["/pause"]', "--user", "65535:65535"]
        _buildah("config", *entry, container)
        _buildah("commit", "-q", "--rm", container, PAUSE_IMAGE)
        _export(PAUSE_IMAGE, archive)
    return archive


def _from_dockerfile(
    name: str, dockerfile: Path, base: Callable[[], str], builder: Callable[[], str] | None = None
) -> Path:
    """Build an image on the base, by the builder where its Dockerfile has one; the machine's own
    authorities are a secret of the build alone.
    """
    archive = node_dir() / "images" / f"{name.rpartition('/')[2].replace(':', '-')}.tar"
    if archive.exists():
        return archive
    command = ["bud", "-q", "--pull-never", "--layers", "-f", str(dockerfile), "-t", name]
    authorities = ssl.get_default_verify_paths().cafile
    if authorities:
        command += ["--secret", f"id=ca,src={authorities}"]
    if builder is not None:
        command += ["--build-arg", f"BUILDER={builder()}"]
    _buildah(*command, "--build-arg", f"PYTHON={base()}", str(ROOT))
    _export(name, archive)
    return archive


def _export(name: str, archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    _buildah("push", "-q", name, f"docker-archive:{partial}:{name}")
    partial.rename(archive)


def _files(parts: Iterable[str]) -> list[Path]:
    found = [f for p in parts for f in ([ROOT / p] if (ROOT / p).is_file() else _below(ROOT / p))]
    return sorted(found)


def _below(folder: Path) -> list[Path]:
    every = folder.rglob("*")
    return [each for each in every if each.is_file() and "__pycache__" not in each.parts]


def _digest(files: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for each in files:
        total.update(f"{each.relative_to(ROOT)}\0".encode() + each.read_bytes() + b"\0")
    return total.hexdigest()[:12]


def _buildah(*arguments: str, check: bool = True) -> str:
    storage = [f"--root={node_dir() / 'storage'}", f"--runroot={node_dir() / 'storage-run'}"]
    return _run("buildah", *storage, "--storage-driver=overlay", *arguments, check=check)


def _run(*command: str, check: bool = True) -> str:
    """The standard output of a command that may need much scratch space."""
    scratch = node_dir() / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        environment = os.environ | {"BUILDAH_ISOLATION": "chroot", "TMPDIR": folder}
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
    if check and result.returncode:
        lines = (result.stdout + result.stderr).splitlines()
        raise ControlPlaneError(f"`{' '.join(command[:1])}` failed: " + "\n".join(lines[-15:]))
    return result.stdout
