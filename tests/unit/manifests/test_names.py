"""A name that is valid stays as it is, up to the last character that fits."""

from __future__ import annotations

from guide.manifests.names import LIMIT, object_name


def test_a_name_is_kept_up_to_the_limit_and_shortened_beyond():
    just, beyond = "a" * (LIMIT - len("-manifests")), "a" * (LIMIT - len("-manifests") + 1)
    assert object_name(just, "manifests") == f"{just}-manifests"
    short = object_name(beyond, "manifests")
    assert len(short) == LIMIT
    assert short.endswith("-manifests")
    assert short != object_name(f"{beyond}a", "manifests"), "two plans share no object"


def test_a_name_of_a_limit_of_its_own():
    assert object_name("a" * 40, "0", limit=42) == f"{'a' * 40}-0"
    assert len(object_name("a" * 41, "0", limit=42)) == 42
