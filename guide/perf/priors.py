"""The fitted constants: prior centre, link, and how far each kind of level may move them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from guide.record import Record


class Parameter(Record, frozen=True):
    """Prior of one constant: centre, link and how far each kind of level may move it (latent
    standard deviation)."""

    name: str
    centre: float
    link: str  # share | positive | real
    spread: str  # row of SPREADS


SPREADS: dict[str, dict[str, float]] = {
    "compute": {
        "all": 0.5, "vendor": 0.5, "engine": 0.3, "generation": 0.3, "gpu": 0.12,
        "gpu-engine": 0.15, "precision": 0.3, "precision-gpu": 0.15, "model": 0.12,
    },
    "memory": {
        "all": 0.5, "vendor": 0.5, "engine": 0.3, "generation": 0.3, "gpu": 0.12,
        "gpu-engine": 0.15, "precision": 0.3, "precision-gpu": 0.15, "model": 0.12,
    },
    "kv": {
        "all": 0.5, "vendor": 0.5, "engine": 0.3, "generation": 0.3, "gpu": 0.12,
        "gpu-engine": 0.15, "kv-kernel": 1.5, "model": 0.12,
    },
    "host": {
        "all": 0.7, "vendor": 0.3, "engine": 0.6, "generation": 0.25, "gpu": 0.12,
        "gpu-engine": 0.2, "version": 0.15, "architecture": 0.15, "model": 0.15, "source": 0.3,
    },
    "host detail": {
        "all": 0.7, "vendor": 0.3, "engine": 0.6, "generation": 0.2, "gpu-engine": 0.2,
        "version": 0.15, "source": 0.3,
    },
    "prompt host": {
        "all": 0.7, "vendor": 0.3, "engine": 0.6, "generation": 0.2, "gpu-engine": 0.2,
        "precision": 0.3, "precision-gpu": 0.2, "version": 0.2, "architecture": 0.2,
        "model": 0.3, "source": 0.3,
    },
    "expert host": {
        "all": 0.7, "engine": 0.3, "generation": 0.2, "gpu-engine": 0.15, "precision": 0.5,
        "precision-gpu": 0.2, "version": 0.15, "model": 0.25,
    },
    "link": {
        "all": 0.5, "link": 0.6, "engine": 0.3, "gpu": 0.3, "gpu-engine": 0.2, "version": 0.1,
        "source": 0.6,
    },
    "serving": {"all": 1.0, "engine": 0.3, "version": 0.2, "model": 0.1, "source": 0.7},
    "shape": {"all": 0.4, "vendor": 0.4, "engine": 0.3, "gpu-engine": 0.2},
    "kernels": {},  # no roof is priced by it: see OF_KERNELS
    "kernel": {"all": 0.3, "vendor": 0.6, "gpu-engine": 0.6, "precision": 0.3},
}  # fmt: skip

PARAMETERS: tuple[Parameter, ...] = (
    Parameter("share_c", 0.65, "share", "compute"),
    Parameter("ramp", 60.0, "positive", "shape"),
    Parameter("decode_c", 1.0, "positive", "kernel"),
    Parameter("decode_h", 0.0, "real", "kernel"),
    Parameter("share_w", 0.85, "share", "memory"),
    Parameter("share_ec", 0.45, "share", "compute"),
    Parameter("ramp_e", 30.0, "positive", "shape"),
    Parameter("share_ew", 0.7, "share", "memory"),
    Parameter("share_kv", 0.75, "share", "kv"),
    Parameter("gqa", 0.5, "share", "kernel"),
    Parameter("v1", 2.0, "positive", "kernel"),
    Parameter("v1_len", 0.7, "real", "kernel"),
    Parameter("share_a", 0.4, "share", "compute"),
    Parameter("c0", 2e-3, "positive", "host"),
    Parameter("cl", 12e-6, "positive", "host"),
    Parameter("cm", 30e-6, "positive", "expert host"),
    Parameter("cs", 30e-6, "positive", "host detail"),
    Parameter("cb", 5e-9, "positive", "host detail"),
    Parameter("cp", 1e-3, "positive", "host detail"),
    Parameter("clp", 20e-6, "positive", "prompt host"),
    Parameter("ca", 9e-6, "positive", "link"),
    Parameter("share_l", 0.3, "share", "link"),
    Parameter("cq", 20e-6, "positive", "kernels"),
    Parameter("k_dense", 1.0, "positive", "kernels"),
    Parameter("k_expert", 1.0, "positive", "kernels"),
    Parameter("k_network", 1.0, "positive", "kernels"),
    Parameter("k_context", 1.0, "positive", "kernels"),
    Parameter("k_pair", 1.0, "positive", "kernels"),
    Parameter("k_prompt", 1.15, "positive", "kernels"),
    Parameter("k_prompt_expert", 1.15, "positive", "kernels"),
    Parameter("k_step", 1.0, "positive", "kernels"),
    Parameter("p", 2.0, "positive", "shape"),  # the exponent is 1 + this
    Parameter("r0", 5e-3, "positive", "serving"),
    Parameter("rt", 2e-6, "positive", "serving"),
    Parameter("rw", 5e-4, "positive", "serving"),
    Parameter("u", 20e-6, "positive", "serving"),
)


# Constants of steps that measured kernels price. The kernels hold what a GPU does, so these stay
# near their centres: few, and none of one GPU, so that the order of datasheets is that of the
# kernels. What a model does differently on a generation is one factor on its whole step, wide, so
# that it does not pass for the host's or the data type's.
_OWN, _RELEASE = "model-generation", "kernels-version"
_FACTOR = {"kernels": 0.02, "generation": 0.02, "precision-generation": 0.02, _OWN: 0.15}
_PROMPT = {"kernels": 0.2, _RELEASE: 0.05, "source": 0.1, _OWN: 0.4}
_AROUND = {"kernels": 1.0, _RELEASE: 0.2, "model": 0.1, _OWN: 0.3, "source": 0.7}
OF_KERNELS: Mapping[str, tuple[float, Mapping[str, float]]] = {
    "cl": (13.4e-6, {"kernels": 0.1, _RELEASE: 0.08, _OWN: 0.15}),
    "cq": (20e-6, {"kernels": 0.2}),
    "cs": (4e-6, {"kernels": 0.2, "source": 1.0, _OWN: 0.3}),
    "cp": (2.4e-3, {"kernels": 0.3, _RELEASE: 0.2, "source": 0.3, _OWN: 0.5}),
    "k_dense": (1.0, _FACTOR),
    "k_expert": (1.0, _FACTOR),
    "k_context": (1.0, _FACTOR),
    "k_network": (1.0, {"kernels": 0.05, "generation": 0.05, _OWN: 0.15}),
    "k_pair": (1.0, {"kernels": 0.5, "generation": 0.05, _OWN: 0.15}),
    "k_prompt": (1.15, {**_PROMPT, "precision-generation": 0.1}),
    "k_prompt_expert": (1.15, {**_PROMPT, "precision-generation": 0.2}),
    "k_step": (1.0, {_RELEASE: 0.03, "model": 0.1, _OWN: 0.4}),
    "r0": (5e-3, _AROUND),
    "rt": (2e-6, _AROUND),
    "rw": (5e-4, _AROUND),
    "u": (5e-6, {"kernels": 0.5, "source": 0.7, _OWN: 0.5}),
}
HELD_BY_KERNELS = ("c0", "cm", "cb", "clp")  # launches and gaps are in the measured times
LEAST = 1e-12  # what these are beside measured kernels


NAMES = tuple(q.name for q in PARAMETERS)


def centre_of(parameter: Parameter, kernels: bool = False) -> float:
    """The prior centre of a constant, of steps priced by measured kernels or by datasheet roofs."""
    if not kernels:
        return parameter.centre
    nothing = LEAST if parameter.name in HELD_BY_KERNELS else parameter.centre
    return OF_KERNELS.get(parameter.name, (nothing, {}))[0]


def spreads_of(parameter: Parameter, kernels: bool = False) -> Mapping[str, float]:
    """How far each kind of level may move it; none where such a step does not depend on it."""
    if kernels:
        return OF_KERNELS.get(parameter.name, (0.0, {}))[1]
    return SPREADS[parameter.spread]


def latent_centre(parameter: Parameter, kernels: bool = False) -> float:
    """The prior centre of a parameter in its latent space."""
    centre = centre_of(parameter, kernels)
    if parameter.link == "share":
        return math.log(centre / (1 - centre))
    return math.log(centre) if parameter.link == "positive" else centre
