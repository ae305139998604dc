"""First process of the node's namespaces: sets them up, then collects orphans until it is killed.

Runs as `python -m hack.node.init RUN_DIR`, in fresh mount, network, process, host name and IPC
namespaces; whatever it mounts or routes goes with them.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from hack.controlplane.pki import NODE

ADDRESS = "10.99.0.2"
# What the programs write at fixed places, kept from the machine's own folders.
PRIVATE = ("/run", "/var/log", "/var/lib/cni", "/var/lib/kubelet", "/var/lib/containerd")


def main(run_dir: Path) -> None:
    """Mount, address and route; say so in RUN_DIR/namespaces; then wait."""
    _do("mount", "--make-rprivate", "/")
    for folder in PRIVATE:
        if Path(folder).is_dir():
            _do("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
    _do("mount", "--bind", str(run_dir / "resolv.conf"), "/etc/resolv.conf")
    _do("hostname", NODE)
    for arguments in (
        "link set lo up",
        "link add eth0 type veth peer name uplink",  # both ends here: nothing leaves
        f"addr add {ADDRESS}/24 dev eth0",
        "link set eth0 up",
        "link set uplink up",
        "route add default dev eth0",  # the kubelet and kube-proxy ask for one
    ):
        _do("ip", *arguments.split())
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
    bridged = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if bridged.exists():
        bridged.write_text("1", encoding="ascii")
    (run_dir / "namespaces").touch()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel then collects orphans
    while True:
        signal.pause()


def _do(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
