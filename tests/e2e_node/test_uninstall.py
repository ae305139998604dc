"""An operator that goes leaves what serves; a plan that goes takes it along. The last file here."""

from __future__ import annotations

from tenacity import retry, stop_after_delay, wait_fixed

from hack.controlplane.kubectl import Kubectl
from tests.e2e_node.conftest import CHART, Cluster, helm
from tests.e2e_node.plans import names_when_ready, servers, serving

NAME = "lasting"


def test_upgrade_and_uninstall_leave_what_serves_alone(
    cluster: Cluster, kubectl: Kubectl, release: str, standin_image: str
):
    with serving(kubectl, release, NAME, standin_image, 3):
        before = names_when_ready(kubectl, release, NAME, 3)
        upgrade = ("upgrade", "guide", CHART, "-n", "guide-system", "--reuse-values", "--wait")
        helm(cluster, *upgrade, "--timeout=180s", "--set=operator.workers=1")
        assert names_when_ready(kubectl, release, NAME, 3) == before
        helm(cluster, "uninstall", "guide", "-n", "guide-system", "--wait")
        assert names_when_ready(kubectl, release, NAME, 3) == before

    @retry(stop=stop_after_delay(60), wait=wait_fixed(0.5), reraise=True)
    def gone() -> None:
        assert not servers(kubectl, release, NAME)  # by the garbage collector

    gone()
