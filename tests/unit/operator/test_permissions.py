"""What plans of mode Apply may ask of pods: by settings, by the label of their namespace."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from guide.cluster.client import ClusterClient
from guide.cluster.refusals import Refused
from guide.spec import InferencePlan, parse_plan
from guide_operator.permissions import NotPermitted, Permissions
from tests.good_plan import PLAN


class Namespaces:
    """A cluster of one namespace; `labels` None: nobody may read it."""

    def __init__(self, labels: Mapping[str, str] | None) -> None:
        self.labels = labels
        self.asked = 0

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        assert name == "ml"
        self.asked += 1
        if self.labels is None:
            raise Refused("no")
        return self.labels


def plan(mode: str = "Apply", **deployment: Any) -> InferencePlan:
    spec = {**PLAN["spec"], "output": {"mode": mode}, "deployment": deployment}
    return parse_plan({**PLAN, "metadata": {"name": "chat", "namespace": "ml"}, "spec": spec})


def routed(mode: str) -> InferencePlan:
    spec = {**PLAN["spec"], "output": {"mode": mode, "gateway": {"name": "public"}}}
    return parse_plan({**PLAN, "metadata": {"name": "chat", "namespace": "ml"}, "spec": spec})


def check(one: InferencePlan, cluster: Namespaces) -> None:
    asyncio.run(Permissions(["env"], cast("ClusterClient", cluster)).check(one))


ENV = [{"name": "TZ", "value": "UTC"}]


def test_what_the_settings_allow_asks_nobody():
    cluster = Namespaces(None)
    check(plan(env=ENV), cluster)
    check(plan("Recommend", env=ENV, serviceAccountName="boss"), cluster)
    assert not cluster.asked


def test_a_label_of_the_namespace_allows_more():
    fields = {"guide.dev/deployment-fields": "serviceAccountName_modelCache.hostPath"}
    check(plan(serviceAccountName="boss", modelCache={"hostPath": "/m"}), Namespaces(fields))
    with pytest.raises(NotPermitted, match=r"^spec\.deployment\.priorityClassName is not for"):
        check(plan(priorityClassName="high"), Namespaces(fields))


@pytest.mark.parametrize("labels", [None, {}, {"guide.dev/deployment-fields": ""}])
def test_without_a_label_or_a_right_to_read_it_nothing_more_is_allowed(
    labels: Mapping[str, str] | None,
):
    with pytest.raises(NotPermitted, match=r"guide\.dev/deployment-fields of the namespace"):
        check(plan(serviceAccountName="boss"), Namespaces(labels))


def test_a_route_from_a_gateway_is_somebody_elses_to_allow():
    with pytest.raises(
        NotPermitted, match=r"^spec\.output\.gateway is not for mode Apply"
    ) as denied:
        check(routed("Apply"), Namespaces({}))
    assert denied.value.field == "spec.output.gateway"
    check(routed("Apply"), Namespaces({"guide.dev/deployment-fields": "output.gateway"}))
    check(routed("Recommend"), Namespaces(None))
