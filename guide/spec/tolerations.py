"""A toleration as in a pod, in a plan and in the files of a platform team."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from guide.spec.edge import Edge

_Name = Annotated[str, Field(max_length=316, pattern=r"^[A-Za-z0-9._/-]*$")]


class Toleration(Edge):
    """A toleration as in a pod."""

    key: _Name = Field(default="", description="Key of the taint; empty with Exists: all taints.")
    operator: Literal["Exists", "Equal"] = Field(
        default="Equal", description="Whether the value of the taint counts."
    )
    value: Annotated[str, Field(max_length=63)] = Field(
        default="", description="Value of the taint, with Equal."
    )
    effect: Literal["", "NoSchedule", "NoExecute", "PreferNoSchedule"] = Field(
        default="", description="Effect of the taint; empty: any."
    )

    def to_domain(self) -> tuple[tuple[str, str], ...]:
        """The fields that are set, as in a pod, sorted."""
        fields = {
            "key": self.key,
            "operator": self.operator,
            "value": self.value,
            "effect": self.effect,
        }
        return tuple(sorted((key, value) for key, value in fields.items() if value))
