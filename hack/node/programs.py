"""Compiles the node's programs from the Go module proxy into the control plane's cache.

The kubelet and kube-proxy come from hack/gomod, of the control plane's version; the others have
a go.mod of their own, because their modules want other versions than Kubernetes does.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hack.controlplane import progress
from hack.controlplane.build import (
    GOMOD,
    NODE_PROGRAMS,
    cache_dir,
    find_go,
    forget_unused,
    go_version,
    linker_flags,
    locked,
    run_go,
)

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class ProgramSet:
    """Programs of one Go module: their packages, build tags and linker flags."""

    module: Path
    packages: tuple[str, ...]
    tags: str = ""
    flags: str = "-s -w"

    def made_of(self) -> list[str]:
        """Everything that decides what is built."""
        files = sorted([*self.module.glob("go.*"), *self.module.rglob("main.go")])
        return [*self.packages, self.tags, self.flags, *(each.read_text("utf-8") for each in files)]


CONTAINERD = "github.com/containerd/containerd/v2/cmd"


def program_sets() -> list[ProgramSet]:
    """The node's programs, the quickest to build first."""
    return [
        ProgramSet(GOMOD, tuple(NODE_PROGRAMS.values()), flags=linker_flags()),
        ProgramSet(
            HERE / "gomod" / "runtime",
            (
                f"{CONTAINERD}/containerd",
                f"{CONTAINERD}/containerd-shim-runc-v2",
                f"{CONTAINERD}/ctr",
                "./pause",
            ),
            tags="no_btrfs no_devmapper no_zfs no_aufs no_tracing",
        ),
        ProgramSet(HERE / "gomod" / "coredns", ("github.com/coredns/coredns",)),
    ]


# What single tests run beside the node's own.
PROMETHEUS = ProgramSet(
    HERE / "gomod" / "prometheus",
    ("github.com/prometheus/prometheus/cmd/prometheus",),
    tags="remove_all_sd enable_kubernetes_sd slicelabels",
)
METRICS_SERVER = ProgramSet(
    HERE / "gomod" / "metrics", ("sigs.k8s.io/metrics-server/cmd/metrics-server",)
)
POLICY_AGENT = ProgramSet(
    HERE / "gomod" / "policies", ("github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",)
)


def node_dir() -> Path:
    """The node's part of the per-user cache: programs, images, layers."""
    return cache_dir() / "node"


def build_programs() -> Path:
    """Return the folder with the node's programs, compiling them when they are not in the cache.

    Raises ControlPlaneError with one sentence when Go cannot be had or the build fails.
    """
    return _built(program_sets(), "the node's programs", "seven minutes")


def build_prometheus() -> Path:
    """Return a Prometheus that discovers pods, which Debian's does not; compiled as needed."""
    return _built([PROMETHEUS], "Prometheus", "three minutes") / "prometheus"


def build_metrics_server() -> Path:
    """Return metrics-server, which tells autoscalers what pods use; compiled as needed."""
    return _built([METRICS_SERVER], "metrics-server", "two minutes") / "metrics-server"


def build_policy_agent() -> Path:
    """Return kube-router, which enforces NetworkPolicies by ipset; compiled as needed."""
    return _built([POLICY_AGENT], "kube-router", "three minutes") / "kube-router"


def _built(sets: list[ProgramSet], what: str, takes: str) -> Path:
    with locked(node_dir() / "lock"):
        go = find_go()
        made_of = [go_version(go), *(part for each in sets for part in each.made_of())]
        key = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]
        done = node_dir() / "bin" / key
        if not done.exists():
            progress.tell(
                f"building {what} from source into {done}: some {takes} on two cores the first time"
            )
            _compile(go, sets, done)
        os.utime(done)
        forget_unused(done.parent)
    return done


def _compile(go: Path, sets: list[ProgramSet], done: Path) -> None:
    done.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=done.parent))
    try:
        for each in sets:
            how = ["-trimpath", "-tags", each.tags, "-ldflags", each.flags, "-o", f"{partial}/"]
            run_go(go, "build", *how, *each.packages, module=each.module)
        partial.chmod(0o755)
        partial.rename(done)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
