"""Which version a release has."""

from __future__ import annotations

import pytest

from hack.dist import ReleaseError, one_version, stated_versions


def test_every_place_states_the_same_version():
    assert one_version(stated_versions(), [])


def test_places_that_differ_are_named():
    with pytest.raises(ReleaseError, match=r"chart 1\.2\.0, project 1\.3\.0"):
        one_version({"chart": "1.2.0", "project": "1.3.0"}, [])


def test_a_tag_of_another_version_is_refused():
    with pytest.raises(ReleaseError, match=r"tagged v1\.3\.0, and its files say 1\.2\.0"):
        one_version({"chart": "1.2.0"}, ["v1.3.0"])


@pytest.mark.parametrize("tags", [[], ["nightly"], ["v1.2.0", "nightly"]])
def test_a_commit_may_have_no_version_tag(tags: list[str]):
    assert one_version({"chart": "1.2.0"}, tags) == "1.2.0"
