"""Brings one control plane up and down; several may run at once, each in its run directory."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from hack.controlplane import pki
from hack.controlplane.build import STAGES_FILE, ControlPlaneError
from hack.controlplane.processes import recorded, running, start, stop, wait_for
from hack.ports import free_ports

# Clients first, so that nobody retries against a dead server; each group may take its grace.
STOP_ORDER = (("kwok", "scheduler", "controller-manager"), ("apiserver",), ("etcd",))
GRACE_S = 3.0
# The defaults of 20 to 50 requests a second make the first service account wait for seconds.
CLIENT_LIMITS = ("--kube-api-qps=500", "--kube-api-burst=1000")
# kwok's default of 40 s keeps half a core busy with the leases of 1,000 nodes.
LEASE_S = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Paths and ports of one control plane."""

    run_dir: Path
    programs: Path
    etcd_port: int
    etcd_peer_port: int
    api_port: int
    controller_manager_port: int
    scheduler_port: int
    address: str | None

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.run_dir / "kubeconfig"

    @property
    def pki(self) -> Path:
        """The folder of certificates and keys."""
        return self.run_dir / "pki"


def up(
    run_dir: Path,
    programs: Path,
    *,
    controllers: bool = True,
    kwok: bool = True,
    address: str | None = None,
) -> Plane:
    """Start everything and return once the API server answers and service accounts exist.

    With an address the API server listens on all of them, names this one to pods, and takes a
    kubelet, whose kubeconfig and kube-proxy's lie beside the administrator's.

    Raises ControlPlaneError with one sentence and the failing program's last log lines.
    """
    if any(running(run_dir, name) for name in recorded(run_dir)):
        raise ControlPlaneError(f"A control plane already runs in {run_dir}; take it down first.")
    down(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = ("etcd_port", "etcd_peer_port", "api_port", "controller_manager_port", "scheduler_port")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    plane = Plane(run_dir=run_dir, programs=programs, address=address, **ports)
    pki.write_pki(plane.pki, *([address] if address else []))
    pki.write_kubeconfig(plane.kubeconfig, "admin", plane.pki, plane.api_port)
    try:
        _start_storage_and_api(plane)
        if controllers:
            _start_controllers(plane)
        for client in ("kubelet", "proxy") if address else ():
            config = run_dir / f"{client}.kubeconfig"
            pki.write_kubeconfig(config, client, plane.pki, plane.api_port)
        if kwok:
            start(run_dir, "kwok", _kwok(plane))
            wait_for(run_dir, "kwok", lambda: True, 1)
    except BaseException:
        down(run_dir)
        raise
    return plane


def down(run_dir: Path) -> list[str]:
    """Stop what up() started here and remove its state; logs stay. Returns the stopped names."""
    stopped = [name for group in STOP_ORDER for name in stop(run_dir, group, GRACE_S)]
    for folder in ("etcd", "pki", "pids"):
        shutil.rmtree(run_dir / folder, ignore_errors=True)
    for kubeconfig in run_dir.glob("*kubeconfig"):
        kubeconfig.unlink()
    return stopped


def _start_storage_and_api(plane: Plane) -> None:
    start(plane.run_dir, "etcd", _etcd(plane))
    wait_for(plane.run_dir, "etcd", _answers(f"http://127.0.0.1:{plane.etcd_port}/health"), 20)
    start(plane.run_dir, "apiserver", _apiserver(plane))
    trust = ssl.create_default_context(cafile=plane.pki / "ca.crt")
    ready = _answers(f"https://127.0.0.1:{plane.api_port}/readyz", trust)
    wait_for(plane.run_dir, "apiserver", ready, 90)


def _start_controllers(plane: Plane) -> None:
    ports = {
        "controller-manager": plane.controller_manager_port,
        "scheduler": plane.scheduler_port,
    }
    for name, argv in (("controller-manager", _controller_manager), ("scheduler", _scheduler)):
        config = plane.run_dir / f"{name}.kubeconfig"
        pki.write_kubeconfig(config, name, plane.pki, plane.api_port)
        start(plane.run_dir, name, argv(plane, config))
    for name, port in ports.items():
        # They serve with a certificate that they sign themselves, on loopback.
        wait_for(
            plane.run_dir, name, _answers(f"https://127.0.0.1:{port}/healthz", verify=False), 60
        )
    wait_for(plane.run_dir, "controller-manager", lambda: _has_service_account(plane), 60)


def _answers(url: str, verify: ssl.SSLContext | bool = True) -> Callable[[], bool]:
    def check() -> bool:
        try:
            return httpx.get(url, verify=verify, timeout=2, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    return check


def _has_service_account(plane: Plane) -> bool:
    """Pods are refused until the controller manager has made the namespace's account."""
    command = ["--kubeconfig", plane.kubeconfig, "-n", "default", "get", "serviceaccount/default"]
    kubectl = [plane.programs / "kubectl", *command]
    return subprocess.run(kubectl, capture_output=True, check=False).returncode == 0


def _etcd(plane: Plane) -> list[str | Path]:
    client = f"http://127.0.0.1:{plane.etcd_port}"
    peer = f"http://127.0.0.1:{plane.etcd_peer_port}"
    return [
        plane.programs / "etcd",
        "--name=guide",
        f"--data-dir={plane.run_dir / 'etcd'}",
        "--unsafe-no-fsync",  # the data is thrown away
        "--log-level=warn",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=guide={peer}",
    ]


def _apiserver(plane: Plane) -> list[str | Path]:
    if plane.address:
        reached_by = [
            "--bind-address=0.0.0.0",
            f"--advertise-address={plane.address}",
            "--authorization-mode=Node,RBAC",
            f"--kubelet-client-certificate={plane.pki / 'admin.crt'}",
            f"--kubelet-client-key={plane.pki / 'admin.key'}",
            "--kubelet-preferred-address-types=InternalIP",
            # API servers behind this one believe it who asks.
            f"--proxy-client-cert-file={plane.pki / 'front-proxy.crt'}",
            f"--proxy-client-key-file={plane.pki / 'front-proxy.key'}",
            f"--requestheader-client-ca-file={plane.pki / 'ca.crt'}",
            f"--requestheader-allowed-names={pki.CLIENTS['front-proxy'][0]}",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        ]
    else:
        reached_by = [
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",  # nothing routes to 10.96.0.1 here
            "--authorization-mode=RBAC",
        ]
    return [
        plane.programs / "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{plane.etcd_port}",
        *reached_by,
        f"--secure-port={plane.api_port}",
        "--service-cluster-ip-range=10.96.0.0/16",
        f"--client-ca-file={plane.pki / 'ca.crt'}",
        f"--tls-cert-file={plane.pki / 'apiserver.crt'}",
        f"--tls-private-key-file={plane.pki / 'apiserver.key'}",
        f"--service-account-key-file={plane.pki / 'sa.pub'}",
        f"--service-account-signing-key-file={plane.pki / 'sa.key'}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--profiling=false",
    ]


def _controller(program: Path, kubeconfig: Path, port: int) -> list[str | Path]:
    return [
        program,
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--authentication-skip-lookup=true",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--leader-elect=false",
        "--profiling=false",
        *CLIENT_LIMITS,
    ]


def _controller_manager(plane: Plane, kubeconfig: Path) -> list[str | Path]:
    program = plane.programs / "kube-controller-manager"
    return [
        *_controller(program, kubeconfig, plane.controller_manager_port),
        "--use-service-account-credentials",
        f"--service-account-private-key-file={plane.pki / 'sa.key'}",
        f"--root-ca-file={plane.pki / 'ca.crt'}",
        f"--node-monitor-grace-period={LEASE_S - 100}s",
    ]


def _scheduler(plane: Plane, kubeconfig: Path) -> list[str | Path]:
    program = plane.programs / "kube-scheduler"
    return _controller(program, kubeconfig, plane.scheduler_port)


def _kwok(plane: Plane) -> list[str | Path]:
    return [
        plane.programs / "kwok",
        f"--config={plane.programs / STAGES_FILE}",
        f"--kubeconfig={plane.kubeconfig}",
        "--manage-all-nodes=false",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        f"--node-lease-duration-seconds={LEASE_S}",
        "--cidr=10.244.0.1/16",
        "--node-ip=127.0.0.1",
    ]
