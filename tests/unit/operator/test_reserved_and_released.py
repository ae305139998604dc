"""What refuses pods before they are made, when reserved GPUs are given back, and who wrote what."""

from __future__ import annotations

from typing import Any

import pytest

from guide.cluster.client import FieldConflict
from guide_operator import field_owners, holdings, pods, releasing
from guide_operator import status as statuses

THEN, NOW = "2026-01-01T00:00:00Z", "2026-01-01T00:10:00Z"
LATE = statuses.unready(pods.NOT_STARTING, "Pod ml/x: Unschedulable.", stalled=False)
SAYS = "cannot make pods of ml/chat-0: the API server says 403, "


def test_gpus_are_given_back_after_the_time_and_held_again_once_pods_start():
    layout = {"groups": [], "generation": 1}
    first, told = releasing.judged(layout, {}, LATE, THEN, 600)
    assert first == {**layout, "notStartingSince": THEN}
    assert told == LATE
    soon, _ = releasing.judged(layout, first, LATE, "2026-01-01T00:09:59Z", 600)
    assert "released" not in soon
    given, told = releasing.judged(layout, first, LATE, NOW, 600)
    assert given == {**first, "released": True}
    assert all("given back" in one.message for one in told)
    again, _ = releasing.judged(layout, given, LATE, THEN, 600)
    assert again["released"], "what was given back is not taken back by a clock"
    running, _ = releasing.judged(layout, given, statuses.available("fine"), NOW, 600)
    assert running == layout


def test_a_layout_that_was_released_holds_nothing():
    group = {"pool": "p", "tp": 1, "pp": 1, "replicas": 2}
    status: dict[str, Any] = {
        "applied": {"groups": [group]},
        "conditions": [{"type": "Applied", "status": "True"}],
    }
    plan = {
        "metadata": {"namespace": "ml", "name": "chat"},
        "spec": {"output": {"mode": "Apply"}},
        "status": status,
    }
    assert holdings.holder(plan) is not None
    status["applied"]["released"] = True
    assert holdings.holder(plan) is None


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (f'{SAYS}pods "a" is forbidden: violates PodSecurity', "pods are forbidden: violates PodS"),
        (f'{SAYS}admission webhook "x" does not support dry run', ""),
        (f'{SAYS}User "u" cannot create resource "pods"', ""),
        (f'{SAYS}error looking up service account: serviceaccount "default" not found', None),
        ("cannot make pods of ml/chat-0: the API server says 500, busy", None),
    ],
)
def test_a_rehearsal_tells_refusals_from_trouble(said: str, why: str | None):
    found = pods.refused(said, replacing=False)
    assert found == why if not why else (found or "").startswith(why)


def test_a_quota_that_older_pods_fill_is_no_refusal():
    said = f"{SAYS}exceeded quota: q"
    assert pods.refused(said, replacing=False)
    assert pods.refused(said, replacing=True) == ""


def test_a_conflict_says_what_was_made_of_which_field():
    def value(image: str) -> dict[str, Any]:
        containers = [{"name": "server", "image": image}]
        return {
            "kind": "Deployment",
            "metadata": {"namespace": "ml", "name": "chat-0"},
            "spec": {"template": {"spec": {"containers": containers}}},
        }

    path = '.spec.template.spec.containers[name="server"].image'
    error = FieldConflict("", (("kubectl-set", path),))
    told = field_owners.conflict(error, value("a:1"), value("b:2"))
    assert told == (
        f"cannot apply Deployment ml/chat-0: {path} belongs to kubectl-set, b:2 instead of a:1"
    )


def test_what_guide_makes_anew_was_not_done_by_hand():
    ours: frozenset[str] = frozenset()
    assert not field_owners.touched({}, {"Deployment chat-0": ours})
    assert field_owners.touched({"Deployment chat-0": ours}, {})
    assert field_owners.touched({}, {"Deployment chat-0": frozenset(("kubectl now",))})
