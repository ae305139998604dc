"""Plans of a real cluster on the page, and plans created there with a person's own token."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, expect

from guide.web import plans
from guide.web.settings import Settings
from hack.controlplane.kubectl import Kubectl
from tests.e2e.conftest import ControlPlane
from tests.e2e.operator_process import chat, install_crd, plan_when, running
from tests.e2e.test_web import MODEL, ask, browser, chromium, faults, serving  # noqa: F401
from tests.e2e.test_web_chart import QUESTION, as_the_page  # noqa: F401
from tests.web_questions import client_of

OURS = {"sec-fetch-site": "same-origin"}
CREATE = QUESTION.replace("/?", "/create?")


@pytest.fixture
def page(as_the_page: str, kubectl: Kubectl) -> Iterator[TestClient]:  # noqa: F811
    """The page with the rights that the chart gives it."""
    install_crd(kubectl)
    plans.read_anew()
    with client_of(Settings(cluster=True, answers_per_minute=1000)) as client:
        yield client


def token_of(kubectl: Kubectl, namespace: str, name: str, *verbs: str) -> str:
    """A token of a new ServiceAccount that may do `verbs` on plans of its namespace."""
    kubectl("-n", namespace, "create", "serviceaccount", name)
    if verbs:
        flags = [f"--verb={verb}" for verb in verbs]
        words = ("--resource=inferenceplans.guide.dev", *flags)
        kubectl("-n", namespace, "create", "role", name, *words)
        account = f"--serviceaccount={namespace}:{name}"
        kubectl("-n", namespace, "create", "rolebinding", name, f"--role={name}", account)
    return kubectl("-n", namespace, "create", "token", name).stdout.strip()


def field_error(text: str, name: str) -> str:
    found = re.search(rf'id="e-c-{name}">(.*?)</span>', text)
    return unescape(found[1]) if found else ""


def names(kubectl: Kubectl, namespace: str) -> list[str]:
    found: list[dict[str, Any]] = kubectl.json("-n", namespace, "get", "inferenceplans")["items"]
    return [plan["metadata"]["name"] for plan in found]


def test_a_plan_is_shown_as_the_operator_answered_it(
    page: TestClient,
    control_plane: ControlPlane,
    kubectl: Kubectl,
    namespace: str,
    tmp_path: Path,
):
    kubectl.apply(chat(namespace))
    assert "not answered yet" in page.get(f"/plans/{namespace}/chat").text
    with running(control_plane.kubeconfig, tmp_path / "log"):
        plan_when(kubectl, namespace, "chat", "Recommended", "True")
    plans.read_anew()
    status = kubectl.json("-n", namespace, "get", "inferenceplan", "chat")["status"]
    listed = unescape(page.get("/plans").text)
    row = next(r for r in listed.split("<tr>") if f"{namespace}/chat" in r)
    assert "ready" in row
    assert f"${status['summary']['hourlyUSD']}/h" in row
    shown = unescape(page.get(f"/plans/{namespace}/chat").text)
    feasible = next(c for c in status["conditions"] if c["type"] == "Feasible")
    assert feasible["message"] in shown
    ttft_s = float(status["best"]["predicted"]["ttftSeconds"]["p95"])
    assert f"{ttft_s * 1e3:.0f} ms" in shown
    (link,) = re.findall(r'class="button" href="([^"]+)"', shown)
    form = page.get(link)
    assert form.status_code == 200
    assert 'value="meta-llama/Llama-3.1-8B-Instruct"' in form.text
    assert re.search(r'id="source-cluster" checked', form.text)


def test_a_person_creates_a_plan_with_their_own_token(
    page: TestClient, kubectl: Kubectl, namespace: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    may, may_not = (
        token_of(kubectl, namespace, "maker", "create"),
        token_of(kubectl, namespace, "reader", "list", "patch"),
    )
    garbage = "eyJhbGciOiJub25lIn0.e30.c2lnbmF0dXJl"
    form = {"namespace": namespace, "name": "mine"}
    tried = {
        token: page.post(CREATE, data={**form, "token": token}, headers=OURS)
        for token in (garbage, may_not, may)
    }
    again = page.post(CREATE, data={**form, "token": may}, headers=OURS)
    assert tried[garbage].status_code == 401
    assert "wrong or has expired" in field_error(tried[garbage].text, "token")
    assert tried[may_not].status_code == 403
    assert "cannot create resource" in field_error(tried[may_not].text, "token")
    assert tried[may].status_code == 303
    assert tried[may].headers["location"] == f"/plans/{namespace}/mine"
    assert again.status_code == 409
    assert "choose another name" in field_error(again.text, "name")
    assert names(kubectl, namespace) == ["mine"]
    made = kubectl.json("-n", namespace, "get", "inferenceplan", "mine", "--show-managed-fields")
    assert made["spec"]["workload"]["inputTokens"] == {"mean": 1000}
    assert [m["manager"] for m in made["metadata"]["managedFields"]] == ["guide-web"]
    assert page.get(f"/plans/{namespace}/mine").status_code == 200  # read anew at once
    assert "POST /apis/guide.dev" in caplog.text  # the calls themselves are in the log
    for token, answer in (*tried.items(), (may, again)):
        assert token not in answer.text
        assert token not in str(answer.headers)
        assert token not in str(answer.url)
        assert token not in caplog.text


@pytest.mark.parametrize("headers", [{}, {"sec-fetch-site": "cross-site"}], ids=["none", "other"])
def test_a_form_of_another_site_creates_nothing(
    page: TestClient, kubectl: Kubectl, namespace: str, headers: dict[str, str]
):
    token = token_of(kubectl, namespace, "maker", "create")
    form = {"namespace": namespace, "name": "mine", "token": token}
    assert page.post(CREATE, data=form, headers=headers).status_code == 403
    assert names(kubectl, namespace) == []


def test_a_person_does_so_in_a_browser(
    as_the_page: str,  # noqa: F811
    kubectl: Kubectl,
    browser: Browser,  # noqa: F811
    tmp_path: Path,
):
    install_crd(kubectl)
    namespace = as_the_page
    may, may_not = (token_of(kubectl, namespace, "maker", "create"), "not.a.token")
    account = {"KUBECONFIG": str(tmp_path / "kubeconfig")}
    with serving("--cluster", **account) as site, browser.new_page() as page:
        page.goto(site)
        page.get_by_label("Hugging Face id").fill(MODEL)
        page.get_by_label("This cluster").check()
        ask(page)
        asked = page.url
        page.get_by_label("Namespace").fill(namespace)
        page.get_by_label("Name", exact=True).fill("mine")
        page.get_by_label("Your token").fill(may_not)
        page.get_by_role("button", name="Create the plan").click()
        token = page.get_by_label("Your token")
        expect(token).to_have_accessible_description(re.compile("wrong or has expired"))
        expect(token).to_be_focused()
        expect(token).to_have_value("")
        assert not faults(page)
        page.reload()
        expect(page.get_by_role("heading", name="Create this plan")).to_be_visible()
        page.goto(asked)
        page.get_by_label("Namespace").fill(namespace)
        page.get_by_label("Name", exact=True).fill("mine")
        page.get_by_label("Your token").fill(may)
        page.get_by_role("button", name="Create the plan").click()
        expect(page.get_by_role("heading", name=f"{namespace}/mine")).to_be_visible()
        assert page.url == f"{site}/plans/{namespace}/mine"
        assert not faults(page)
        page.get_by_role("link", name="All plans").click()
        expect(page.get_by_role("row", name=f"{namespace}/mine")).to_contain_text("not answered")
        assert not faults(page)
        page.get_by_role("link", name=f"{namespace}/mine").click()
        page.get_by_role("link", name="Open as a question").click()
        expect(page.get_by_label("Hugging Face id")).to_have_value(MODEL)
        expect(page.get_by_label("This cluster")).to_be_checked()
    assert names(kubectl, namespace) == ["mine"]
