"""The inference frameworks that GUIDE compares: to add one, a file here and its line below."""

from guide.frameworks.base import DeploymentOptions, EnvVar, Framework, Launch
from guide.frameworks.fastgen import FastGen
from guide.frameworks.vllm import Vllm

FRAMEWORKS: dict[str, Framework] = {framework.name: framework for framework in (Vllm(), FastGen())}

__all__ = ["FRAMEWORKS", "DeploymentOptions", "EnvVar", "Framework", "Launch"]
