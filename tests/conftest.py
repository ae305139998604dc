"""What all tests share."""

import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import settings

from guide.search.recommend import forget
from hack.controlplane import progress

# A busy machine is no failure, and the same commit has the same verdict everywhere: chance looks
# for new counterexamples in `make scale`.
settings.register_profile("gate", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("gate")


@pytest.fixture(scope="session", autouse=True)
def compiling_is_seen(pytestconfig: pytest.Config) -> Iterator[None]:
    """What a first build tells reaches the terminal past pytest's capture: it takes minutes."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    tell = progress.tell

    def aloud(line: str) -> None:
        with capture.global_and_fixture_disabled():
            tell(line)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "tell", aloud)
        yield


ENGINE = ("guide.models.", "guide.perf.", "guide.search.", "guide.simulate.")


@pytest.fixture
def monkeypatch(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """What a test puts in the engine's place is no part of what the engine's caches go by: none
    carries an answer into such a test, or one of a toy out of it."""
    engine_forgets()
    yield monkeypatch
    engine_forgets()


def engine_forgets() -> None:
    """Empty every cache of the engine's modules."""
    forget()
    loaded = (m for name, m in tuple(sys.modules.items()) if name.startswith(ENGINE))
    caching: Any = type(lru_cache(forget))
    for value in (value for module in loaded for value in tuple(vars(module).values())):
        if isinstance(value, caching):
            value.cache_clear()
