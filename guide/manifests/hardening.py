"""As whom the generated containers run, what they may, and where they may write (pure).

What Pod Security calls ``restricted``: https://kubernetes.io/docs/concepts/security/
"""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

USER_ID = 65532
SCRATCH = "/tmp"
# Caches of compilers lie below HOME; torch asks for the name of a user that no image knows.
HOME_ENV: tuple[Object, ...] = (
    {"name": "HOME", "value": SCRATCH},
    {"name": "USER", "value": "guide"},
)
SCRATCH_MOUNT: Object = {"mountPath": SCRATCH, "name": "scratch"}
SCRATCH_VOLUME: Object = {"emptyDir": {}, "name": "scratch"}
_NON_ROOT = {"runAsGroup": USER_ID, "runAsNonRoot": True, "runAsUser": USER_ID}


def pod_security(vendor: str) -> Object:
    """Of a pod; on AMD and Intel GPUs the user of the image stays.

    Their device files belong to root and a group whose number differs from node to node; those of
    NVIDIA are open to all. The group makes a claim writable.
    """
    return {
        "fsGroup": USER_ID,
        "fsGroupChangePolicy": "OnRootMismatch",  # else every start walks through the whole cache
        **(_NON_ROOT if vendor == "nvidia" else {}),
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Object:
    """Of a container that writes to its volumes alone."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def proxy_security() -> Object:
    """Of a container that uses no GPU, on any node."""
    return {**container_security(), **_NON_ROOT, "seccompProfile": {"type": "RuntimeDefault"}}
