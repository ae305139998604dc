"""Throw-away certificates, service-account keys and kubeconfigs of one control plane."""

from __future__ import annotations

import base64
from pathlib import Path

import trustme
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

CONTEXT = "guide-controlplane"
NODE = "guide-node"  # the real one, of hack/node
# client name -> (user, group) that the API server reads from the certificate
CLIENTS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", None),
    "scheduler": ("system:kube-scheduler", None),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "proxy": ("system:kube-proxy", None),
    # The API server towards the API servers behind it, such as metrics-server.
    "front-proxy": ("front-proxy-client", None),
}
SERVER_NAMES = ("127.0.0.1", "10.96.0.1", "localhost", "kubernetes.default.svc")


def write_pki(folder: Path, *addresses: str) -> None:
    """Write the CA, server and client certificates and the service-account keys into folder.

    The server's certificate is good for SERVER_NAMES and the further addresses.
    """
    folder.mkdir(parents=True, mode=0o700)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.crt")
    server = authority.issue_cert(*SERVER_NAMES, *addresses, common_name="kube-apiserver")
    server.cert_chain_pems[0].write_to_path(folder / "apiserver.crt")
    server.private_key_pem.write_to_path(folder / "apiserver.key")
    _write_service_account_key(folder)
    for client, (user, group) in CLIENTS.items():
        # Without any host name the certificate gets an empty critical extension, which Go refuses.
        host = f"{client}.invalid"
        leaf = authority.issue_cert(host, common_name=user, organization_name=group)
        leaf.cert_chain_pems[0].write_to_path(folder / f"{client}.crt")
        leaf.private_key_pem.write_to_path(folder / f"{client}.key")


def write_kubeconfig(path: Path, client: str, pki: Path, api_port: int) -> None:
    """Write a kubeconfig of one of CLIENTS with its credentials inlined."""

    def inline(name: str) -> str:
        return base64.b64encode((pki / name).read_bytes()).decode()

    cluster = {
        "server": f"https://127.0.0.1:{api_port}",
        "certificate-authority-data": inline("ca.crt"),
    }
    user = {
        "client-certificate-data": inline(f"{client}.crt"),
        "client-key-data": inline(f"{client}.key"),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": CONTEXT,
        "clusters": [{"name": CONTEXT, "cluster": cluster}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": client}}],
        "users": [{"name": client, "user": user}],
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config), encoding="utf-8")


def _write_service_account_key(folder: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (folder / "sa.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    (folder / "sa.pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
