"""Brings one node up and down, with a control plane in the same network namespace.

Everything lies in a run directory; the node's own namespaces and cgroup keep interfaces, firewall
rules, mounts and processes from the machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from hack.controlplane.build import ControlPlaneError
from hack.controlplane.kubectl import Kubectl
from hack.controlplane.pki import NODE
from hack.controlplane.processes import recorded, running, start, stop, wait_for
from hack.node import cgroups, configuration
from hack.node.init import ADDRESS

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("unshare", "nsenter", "mount", "ip", "iptables", "runc", "buildah", "mmdebstrap")
WRAPPED = ("kubectl", "helm", "ctr")


@dataclass(frozen=True, slots=True)
class Node:
    """A node in its run directory."""

    run_dir: Path

    @property
    def bin(self) -> Path:
        """Folder of kubectl, helm and ctr, which run inside the namespaces."""
        return self.run_dir / "bin"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; its address is one of the namespaces."""
        return self.run_dir / "plane" / "kubeconfig"

    @property
    def kubectl(self) -> Kubectl:
        """kubectl as administrator, from outside."""
        return Kubectl(self.bin / "kubectl", self.kubeconfig)

    def command(self, *words: str | Path, network_alone: bool = False) -> list[str]:
        """The command line that runs words in the node's namespaces."""
        namespaces = ["--net"] if network_alone else ["--mount", "--net", "--pid", "--uts", "--ipc"]
        enter = ["nsenter", "-t", str(self._first_pid()), *namespaces]
        if not network_alone:
            enter.append(f"--wd={Path.cwd()}")
        return [*enter, "--", *map(str, words)]

    def _first_pid(self) -> int:
        """The node's process 1, which unshare forked."""
        outer = running(self.run_dir, "namespaces")
        children = outer.children() if outer else []
        if not children:
            raise ControlPlaneError(f"No node runs in {self.run_dir}; start one with `up`.")
        return children[0].pid


def lacking() -> str | None:
    """One sentence naming the programs that this machine lacks and could install; else None."""
    tools = [tool for tool in TOOLS if shutil.which(tool) is None]
    if not any((Path(folder) / "bridge").exists() for folder in configuration.CNI_DIRS):
        tools.append("containernetworking-plugins")
    if not tools:
        return None
    return f"No container ran: a node needs {', '.join(tools)}; .ci/run installs them on Debian."


def forbidden() -> str | None:
    """One sentence saying why this machine can run no node whatever it installs; else None."""
    cannot = "No container ran: a node needs"
    if os.geteuid() != 0:
        return f"{cannot} root."
    if "overlay" not in Path("/proc/filesystems").read_text():
        return f"{cannot} a kernel with overlayfs."
    probe = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "true"]
    if not _succeeds(*probe):
        return f"{cannot} the right to make namespaces."
    try:
        cgroups.create(name := f"guide-probe-{os.getpid()}")
        cgroups.remove(name)
    except ControlPlaneError as problem:
        return str(problem)
    return None


def up(run_dir: Path, programs: Path, plane: Path, images: dict[str, Path]) -> Node:
    """Start node and control plane; return once the node is Ready and its Services are reached.

    Raises ControlPlaneError with one sentence and the failing program's last log lines.
    """
    if any(running(run_dir, name) for name in recorded(run_dir)):
        raise ControlPlaneError(f"A node already runs in {run_dir}; take it down first.")
    down(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    (run_dir / "sysctls.json").write_text(json.dumps(cgroups.sysctls()), encoding="utf-8")
    node = Node(run_dir)
    try:
        cgroups.create(cgroup(run_dir))
        configuration.write(run_dir, f"/{cgroup(run_dir)}")
        _start(node, programs, plane, images)
    except BaseException:
        down(run_dir)
        raise
    return node


def down(run_dir: Path) -> list[str]:
    """Stop everything that up() started here and remove every trace; logs stay."""
    outcome: list[str] = []
    if (run_dir / "plane").exists():
        _control_plane("down", run_dir)
        outcome.append("control plane")
    # unshare ignores SIGTERM; when it is killed, the kernel kills the node's process 1 and with
    # it all of its processes.
    outcome += stop(run_dir, recorded(run_dir), 0.5)
    if (settings := run_dir / "sysctls.json").exists():
        _until("the node's processes to end", lambda: not cgroups.processes(cgroup(run_dir)))
        cgroups.remove(cgroup(run_dir))
        cgroups.restore(json.loads(settings.read_text(encoding="utf-8")))
    for each in run_dir.iterdir() if run_dir.exists() else ():
        if each.name == "logs":
            continue
        shutil.rmtree(each) if each.is_dir() else each.unlink()
    return outcome


def cgroup(run_dir: Path) -> str:
    """The name of the cgroup of the node in this run directory."""
    return f"guide-node-{hashlib.sha256(str(run_dir).encode()).hexdigest()[:8]}"


def _start(node: Node, programs: Path, plane: Path, images: dict[str, Path]) -> None:
    run_dir = node.run_dir
    namespaces = ["--mount", "--net", "--pid", "--uts", "--ipc", "--mount-proc"]
    init = [sys.executable, "-m", "hack.node.init", run_dir]
    start(run_dir, "namespaces", ["unshare", *namespaces, "--fork", "--kill-child", *init])
    wait_for(run_dir, "namespaces", (run_dir / "namespaces").exists, 20)
    path = f"PATH={programs}:/usr/sbin:/usr/bin:/sbin:/bin"

    def inside(name: str, *arguments: str) -> None:
        start(run_dir, name, node.command("env", path, programs / name, *arguments))

    inside("containerd", f"--config={run_dir / 'containerd.toml'}")
    (node.bin).mkdir()
    for name in WRAPPED:
        program = (programs if name == "ctr" else plane) / name
        wrapper = node.bin / name
        wrapper.write_text(f'#!/bin/sh\nexec {" ".join(node.command(program))} "$@"\n', "utf-8")
        wrapper.chmod(0o755)
    ctr = [node.bin / "ctr", "--namespace=k8s.io"]
    wait_for(run_dir, "containerd", lambda: _succeeds(*ctr, "version"), 30)
    _control_plane("up", run_dir, node)
    inside("coredns", "-conf", str(run_dir / "Corefile"))
    node.kubectl.apply(*configuration.dns_objects())
    for archive in images.values():
        if not _succeeds(*ctr, "images", "import", archive):
            raise ControlPlaneError(f"containerd could not import {archive}.")
    inside(
        "kubelet",
        f"--config={run_dir / 'kubelet.yaml'}",
        f"--kubeconfig={run_dir / 'plane' / 'kubelet.kubeconfig'}",
        f"--hostname-override={NODE}",
        f"--node-ip={ADDRESS}",
        f"--root-dir={run_dir / 'kubelet'}",
        f"--cert-dir={run_dir / 'kubelet-pki'}",
    )
    wait_for(run_dir, "kubelet", lambda: _ready(node), 60)
    # It ends when its node gets addresses that it did not see when it began.
    config = f"--config={run_dir / 'proxy.yaml'}"
    inside("kube-proxy", config, f"--hostname-override={NODE}")
    wait_for(run_dir, "kube-proxy", lambda: _routed(node), 60)


def _ready(node: Node) -> bool:
    condition = '{.status.conditions[?(@.type=="Ready")].status}'
    told = node.kubectl("get", "node", NODE, "-o", f"jsonpath={condition}", check=False)
    return told.stdout == "True"


def _routed(node: Node) -> bool:
    """Whether Services are reached: kube-proxy writes its rules some time after it started."""
    server = ("--server=https://10.96.0.1", "--request-timeout=2s")
    return node.kubectl("get", "--raw=/readyz", *server, check=False).stdout == "ok"


def _control_plane(verb: str, run_dir: Path, node: Node | None = None) -> None:
    command = [sys.executable, "-m", "hack.controlplane", verb, "--run-dir", run_dir / "plane"]
    if node:
        command += ["--no-kwok", "--address", ADDRESS]
        command = node.command(*command, network_alone=True)
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ControlPlaneError(f"control plane {verb}: {result.stderr.strip()}")


def _succeeds(*command: str | Path) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _until(what: str, done: Callable[[], bool], limit_s: float = 20) -> None:
    poll = Retrying(
        stop=stop_after_delay(limit_s),
        wait=wait_fixed(0.1),
        retry=retry_if_result(lambda met: not met),
    )
    try:
        poll(done)
    except RetryError:
        raise ControlPlaneError(f"Waited {limit_s:.0f} s for {what} in vain.") from None
