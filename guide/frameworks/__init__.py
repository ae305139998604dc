"""The inference frameworks that GUIDE compares: to add one, a file here and its line below."""

from collections.abc import Iterable

from guide.domain import Switches
from guide.frameworks.base import DeploymentOptions, EnvVar, Framework, Launch
from guide.frameworks.fastgen import FastGen
from guide.frameworks.sglang import Sglang
from guide.frameworks.vllm import Vllm

FRAMEWORKS: dict[str, Framework] = {one.name: one for one in (Vllm(), Sglang(), FastGen())}

# Flags that a plan may add; each framework refuses those that are not its own.
EXTRA_FLAGS = frozenset[str]().union(*(one.extra_flags for one in FRAMEWORKS.values()))


def what_ifs(frameworks: Iterable[str], switches: Switches) -> list[str]:
    """Why no server of these frameworks runs with `switches`; nothing where all do."""
    said = {FRAMEWORKS[name].what_if(switches) for name in frameworks}
    return sorted(why for why in said if why)


__all__ = [
    "EXTRA_FLAGS",
    "FRAMEWORKS",
    "DeploymentOptions",
    "EnvVar",
    "Framework",
    "Launch",
    "what_ifs",
]
