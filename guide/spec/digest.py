"""A name for a question."""

from __future__ import annotations

import hashlib

import guide
from guide.domain import Catalog, Inventory, Plan
from guide.search.space import considered_pools
from guide.spec.plan import InferencePlan


def inputs_digest(
    plan: InferencePlan, question: Plan, inventory: Inventory, catalog: Catalog
) -> str:
    """A name for all that an answer depends on: equal digests, equal answers.

    Of the inventory, only the pools that the plan may use count: other changes do not concern it.
    """
    pools = considered_pools(question, inventory) or list(inventory.pools)
    parts = (
        plan.spec.model_dump_json(by_alias=True),
        repr(question),
        repr(pools),
        catalog.digest,
        guide.__version__,
    )
    return "sha256:" + hashlib.sha256("\0".join(parts).encode()).hexdigest()
