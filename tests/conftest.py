"""What all tests share."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

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
