"""Configuration files of the node's programs, written into its run directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from hack.node.init import ADDRESS

PODS = "10.244.0.0/24"
DNS = "10.96.0.10"
PAUSE_IMAGE = "localhost/pause:1"
CNI_DIRS = ("/usr/lib/cni", "/opt/cni/bin")


def write(run_dir: Path, cgroup: str) -> None:
    """Write every file; containerd's pods live below the cgroup, such as `/guide-node-1`."""
    (run_dir / "cni").mkdir(parents=True)
    cni = json.dumps(_network(run_dir))
    (run_dir / "cni" / "10-pods.conflist").write_text(cni, encoding="utf-8")
    (run_dir / "containerd.toml").write_text(_containerd(run_dir), encoding="utf-8")
    for name, document in (("kubelet", _kubelet(run_dir, cgroup)), ("proxy", _proxy(run_dir))):
        text = yaml.safe_dump(document)
        (run_dir / f"{name}.yaml").write_text(text, encoding="utf-8")
    (run_dir / "Corefile").write_text(_corefile(run_dir), encoding="utf-8")
    (run_dir / "resolv.conf").write_text(f"nameserver {ADDRESS}\n", encoding="utf-8")


def dns_objects() -> list[dict[str, Any]]:
    """The Service of the cluster's DNS, which points at the process on the node."""
    ports = [{"name": f"dns-{p.lower()}", "port": 53, "protocol": p} for p in ("UDP", "TCP")]
    metadata = {"name": "kube-dns", "namespace": "kube-system"}
    labels = {"kubernetes.io/service-name": "kube-dns"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"clusterIP": DNS, "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": labels},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
        },
    ]


def _network(run_dir: Path) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "dataDir": str(run_dir / "cni-data"),
        "ranges": [[{"subnet": PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipam": addresses,
    }
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}


def _containerd(run_dir: Path) -> str:
    # Some machines forbid lower OOM scores, and some have AppArmor's files but not its rights.
    return f"""\
version = 3
root = "{run_dir}/containerd-root"
state = "/run/containerd-state"
oom_score = 0
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  enable_selinux = false
  disable_apparmor = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = {json.dumps(CNI_DIRS)}
    conf_dir = "{run_dir}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      SystemdCgroup = false
[plugins."io.containerd.internal.v1.opt"]
  path = "{run_dir}/opt"
"""


def _kubelet(run_dir: Path, cgroup: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": ["pods"],
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(run_dir / "plane" / "pki" / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [DNS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(run_dir / "resolv.conf"),
        # The tests' machine is small and its disk may be nearly full.
        "evictionHard": {
            "memory.available": "200Mi",
            **{f"{fs}.available": "2%" for fs in ("nodefs", "imagefs")},
            **{f"{fs}.inodesFree": "1%" for fs in ("nodefs", "imagefs")},
        },
        "imageGCHighThresholdPercent": 99,
        "imageGCLowThresholdPercent": 98,
        "podLogsDir": str(run_dir / "pod-logs"),
        "volumePluginDir": str(run_dir / "volume-plugins"),
        "nodeStatusUpdateFrequency": "4s",
        "syncFrequency": "10s",
    }


def _proxy(run_dir: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(run_dir / "plane" / "proxy.kubeconfig")},
        "mode": "iptables",
        "clusterCIDR": PODS,
        "oomScoreAdj": 0,
        # Zeroes leave the machine's own limits as they are.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def _corefile(run_dir: Path) -> str:
    return f"""\
.:53 {{
    bind {ADDRESS}
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {run_dir}/plane/kubeconfig
        pods insecure
        ttl 5
    }}
    cache 5
}}
"""
