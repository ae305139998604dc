"""What plans of mode Apply may ask of pods and routes: the operator's account makes them, so no
plan is a way round a policy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from guide.cluster.client import ClusterClient
from guide.cluster.refusals import Refused
from guide.errors import SpecError
from guide.spec import InferencePlan

# On a Namespace: more fields for its plans, joined by _ (label values know no comma).
LABEL = "guide.dev/deployment-fields"
# by the operator's hand, whoever writes plans could publish a service
GATEWAY = "output.gateway"


class NotPermitted(SpecError):
    """A field that nobody has allowed; a label may do so at any time."""


class Permissions:
    """The fields of `spec.deployment`, and `output.gateway`, that plans may set: those of the
    settings everywhere, and those that the label of a namespace names.
    """

    def __init__(self, everywhere: Sequence[str], client: ClusterClient) -> None:
        self._everywhere = frozenset(everywhere)
        self._client = client

    async def check(self, plan: InferencePlan) -> None:
        """Raise `NotPermitted` for the first field that is not allowed; the namespace is asked only
        where the settings do not allow it.
        """
        asked = _asked(plan) if plan.spec.output.mode == "Apply" else ()
        more = [name for name in asked if name not in self._everywhere]
        if not more:
            return
        here = await asyncio.to_thread(self._labelled, plan.metadata.namespace)
        denied = [name for name in more if name not in here]
        if denied:
            field = f"spec.{denied[0]}" if denied[0] == GATEWAY else f"spec.deployment.{denied[0]}"
            raise NotPermitted(
                f"{field} is not for mode Apply here: leave it out, or ask who "
                f"runs the operator to name it in apply.deploymentFields of the chart or in label "
                f"{LABEL} of the namespace",
                field=field,
            )

    def _labelled(self, namespace: str) -> list[str]:
        try:
            return str(self._client.namespace_labels(namespace).get(LABEL, "")).split("_")
        except Refused:  # a role from before this was possible
            return []


def _asked(plan: InferencePlan) -> tuple[str, ...]:
    gateway = () if plan.spec.output.gateway is None else (GATEWAY,)
    return (*gateway, *plan.spec.deployment.wishes())
