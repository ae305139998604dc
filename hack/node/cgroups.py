"""The node's own cgroup, on either version of cgroups, and the kernel's settings it changes."""

from __future__ import annotations

from pathlib import Path

from hack.controlplane.build import ControlPlaneError

MOUNTS = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "memory", "pids")
# Global, whichever namespace the kubelet runs in.
SYSCTLS = (
    *("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"),
    *("kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"),
)


def create(name: str) -> None:
    """Make the cgroup in every hierarchy. Raises ControlPlaneError where that is forbidden."""
    try:
        if (MOUNTS / "cgroup.controllers").exists():
            _delegate(MOUNTS / "cgroup.subtree_control")
            (MOUNTS / name).mkdir(exist_ok=True)
            _delegate(MOUNTS / name / "cgroup.subtree_control")
            return
        for hierarchy in _hierarchies():
            (hierarchy / name).mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):  # empty, and then nothing may run there
                if (hierarchy / setting).exists():
                    (hierarchy / name / setting).write_text((hierarchy / setting).read_text())
    except OSError as problem:
        raise ControlPlaneError(
            f"No container ran: a node needs a cgroup of its own, and {problem.filename} says "
            f"{problem.strerror}."
        ) from problem


def remove(name: str) -> list[Path]:
    """Remove the cgroup from every hierarchy, leaves first; return what is still in use."""
    roots = [MOUNTS] if (MOUNTS / "cgroup.controllers").exists() else _hierarchies()
    kept: list[Path] = []
    for root in roots:
        folders = [f for f in (root / name).rglob("*") if f.is_dir()] if root.is_dir() else []
        for folder in [*sorted(folders, key=lambda f: -len(f.parts)), root / name]:
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                kept.append(folder)
    return kept


def processes(name: str) -> set[int]:
    """Process ids in the cgroup and below it."""
    files = [f for each in _hierarchies() for f in (each / name).rglob("cgroup.procs")]
    if (MOUNTS / "cgroup.controllers").exists():
        files = list((MOUNTS / name).rglob("cgroup.procs"))
    return {int(pid) for each in files for pid in each.read_text().split()}


def sysctls() -> dict[str, str]:
    """The kernel's settings that a kubelet changes, as they are now."""
    found = {name: Path("/proc/sys") / name for name in SYSCTLS}
    return {name: path.read_text().strip() for name, path in found.items() if path.exists()}


def restore(settings: dict[str, str]) -> None:
    """Write back what `sysctls` read."""
    for name, value in settings.items():
        path = Path("/proc/sys") / name
        if path.read_text().strip() != value:
            path.write_text(value)


def _hierarchies() -> list[Path]:
    return [each for each in sorted(MOUNTS.iterdir()) if (each / "cgroup.procs").exists()]


def _delegate(control: Path) -> None:
    for controller in CONTROLLERS:
        control.write_text(f"+{controller}")
