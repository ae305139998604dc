"""Corrections of the fits that running pods taught, for the layouts of one cluster."""

from __future__ import annotations

import math
from collections.abc import Mapping

from guide.domain import Gpu, ModelArch
from guide.perf.terms import ServingParams, StepParams

OBSERVED = "observed"  # level of what running pods taught, for the layouts of one cluster
_STEP_TIMES = (
    *("c0", "cl", "cm", "cq", "cs", "cb", "cp", "clp", "ca"),
    *("k_dense", "k_expert", "k_network", "k_context", "k_pair"),
)
_STEP_SHARES = ("share_c", "share_w", "share_ec", "share_ew", "share_kv", "share_a", "share_l")


def observed_key(
    gpu: Gpu, framework: str, version: str, model: ModelArch | None
) -> tuple[str, str]:
    """The level of corrections learnt from running pods: model, GPU, framework and version."""
    name = "*" if model is None else model.base or model.name
    return OBSERVED, f"{name}/{gpu.name}/{framework}-{version}"


def paced(
    step: StepParams, serving: ServingParams, row: Mapping[str, float]
) -> tuple[StepParams, ServingParams]:
    """All step times slower by exp(row["step"]), and what surrounds them by exp(row["serving"]).

    A step is homogeneous in its times and the inverse of its shares, so a factor on all of them is
    a factor on every step.
    """
    slower, around = math.exp(row.get("step", 0.0)), math.exp(row.get("serving", 0.0))
    times = {name: getattr(step, name) * slower for name in _STEP_TIMES}
    shares = {name: getattr(step, name) / slower for name in _STEP_SHARES}
    return (
        step._replace(**times, **shares),
        ServingParams(*(value * around for value in serving)),
    )
