"""Three people come to a decision: a founder who knows no GPU, an engineer who must defend a choice
to finance, and one who was woken by an alert. On screens as they have them, in light and dark, and
without scripts.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from tenacity import retry, stop_after_delay, wait_fixed

from hack.ports import free_port
from tests.e2e.conftest import ROOT
from tests.e2e.test_web import ask, browser, chromium, faults, saved, serving, unfold  # noqa: F401

PHONE_HEIGHT = 844
SCREENS: dict[str, dict[str, Any]] = {
    "desk": {"viewport": {"width": 1440, "height": 900}},
    "laptop in the dark": {"viewport": {"width": 1280, "height": 720}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": PHONE_HEIGHT}},
    "phone in the dark": {
        "viewport": {"width": 390, "height": PHONE_HEIGHT},
        "color_scheme": "dark",
    },
    "without scripts": {"java_script_enabled": False},
}


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """A server beside no cluster."""
    with serving("--no-cluster") as address:
        yield address


@pytest.fixture(scope="module")
def plans() -> Iterator[str]:
    """A server beside a cluster with two plans, of which one misses a limit."""
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "hack.plans_page", str(port)], cwd=ROOT)
    try:
        _ready(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(60)  # its workers may only just start


@retry(stop=stop_after_delay(60), wait=wait_fixed(0.2), reraise=True)
def _ready(address: str) -> None:
    httpx.get(f"{address}/healthz", trust_env=False).raise_for_status()


@pytest.fixture(params=SCREENS)
def screen(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a person has before them."""
    return SCREENS[request.param]


@pytest.fixture
def page(screen: dict[str, Any], browser: Browser) -> Iterator[Page]:  # noqa: F811
    """A page on that screen."""
    context = browser.new_context(**screen)
    yield context.new_page()
    context.close()


@pytest.fixture
def good(screen: dict[str, Any], page: Page) -> Callable[[], None]:
    """Nothing to scroll sideways, and no fault that axe finds; it runs on scripts itself."""

    def check() -> None:
        if screen.get("java_script_enabled", True):
            assert not faults(page)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= page.evaluate("window.innerWidth")

    return check


def test_a_founder_learns_what_to_rent(page: Page, site: str, good: Callable[[], None]):
    page.goto(site)
    expect(page.get_by_label("Anything I can rent")).to_be_checked()
    page.get_by_role("button", name="Chat").click()
    page.wait_for_url(re.compile("input95=3000"))
    page.get_by_label("Hugging Face id").fill("openai/gpt-oss-20b")
    page.get_by_label("People").fill("50")
    page.get_by_label("A message every").fill("45")
    ask(page)
    expect(page.get_by_label("Requests per second")).to_have_value("1.11")
    expect(page.locator("#reasoning")).to_contain_text("50 / 45 s = 1.11 requests per second")
    title = page.locator("#answer-title")
    expect(title).to_contain_text(re.compile(r"^Rent (one node|\d nodes) with .* for \$[\d.]+ per"))
    card = page.get_by_role("region", name=re.compile("^Rent "))
    expect(card).to_contain_text(re.compile(r"\$[\d,]+/month"))
    limits = card.get_by_role("list", name="Limits").get_by_role("listitem")
    expect(limits).to_have_count(2)
    expect(limits.first).to_contain_text(re.compile(r"First token .* of 1\.00 s · \d+% to spare"))
    expect(card).to_contain_text(re.compile(r"Serves (up to|at least) [\d.]+ x this load"))
    expect(card).to_contain_text(re.compile("(Measured|Calibrated|Extrapolated): "))
    rent = page.get_by_role("region", name="Where to rent it")
    expect(rent).to_contain_text(re.compile(r"\$\d+\.\d\d"))
    expect(page.get_by_role("region", name="What to do next")).to_contain_text("Benchmark it")
    title.scroll_into_view_if_needed()
    top, details = title.bounding_box(), page.locator("#expert").bounding_box()
    assert top is not None
    assert details is not None
    assert details["y"] - top["y"] < 3 * PHONE_HEIGHT  # on a phone too
    good()


def test_an_engineer_defends_a_choice_to_finance(
    page: Page, site: str, good: Callable[[], None], tmp_path: Path
):
    page.goto(site)
    page.get_by_role("link", name="Show me an example").click()
    bill = page.get_by_role("region", name="The bill", exact=True)
    for what in ("per month", "per year", "per million tokens", "per million output tokens"):
        expect(bill).to_contain_text(re.compile(rf"{what}[^$]*\$[\d,.]+"))
    expect(bill).to_contain_text(re.compile(r"Prices: .* as of "))
    bill.get_by_text("What would change it").click()
    expect(bill).to_contain_text("the bill stays the same at less load")
    unfold(page)
    expect(page.get_by_role("heading", name="Best option of each GPU")).to_be_visible()
    expect(page.get_by_role("region", name="Table: Best option")).to_contain_text("recommended")
    good()
    review = saved(page, "REVIEW.md", tmp_path).read_text()
    assert "## Bill" in review
    page.get_by_role("link", name="Link that keeps this answer").click()
    expect(page.get_by_text("The same answer as when this link was made")).to_be_visible()
    for limit in ("900", "800"):  # three runs side by side
        page.get_by_role("link", name="Compare with another run").click()
        page.get_by_label("First token within").fill(limit)
        ask(page)
    table = page.get_by_role("region", name="Table: Side by side")
    expect(table).to_contain_text("2 runs before")
    expect(table).to_contain_text("First token within")
    good()


def test_an_engineer_under_an_alert_learns_what_moved(
    page: Page, plans: str, good: Callable[[], None]
):
    page.goto(f"{plans}/plans")
    first = page.get_by_role("row").nth(1)
    expect(first).to_contain_text("misses a limit")
    good()
    first.get_by_role("link").click()
    verdict = page.get_by_role("region", name="ml/chat")
    expect(verdict).to_contain_text("Limits are missed: p95 of time to first token is 2.40 s")
    expect(verdict).to_contain_text("The load grew: 13 requests/s, 8 planned")
    good()
    page.get_by_role("link", name="Plan for the load as it is").click()
    expect(page.locator("#answer-title")).to_contain_text("It serves 13 requests a second")
    expect(page.get_by_label("Requests per second")).to_have_value("13")
    create = page.get_by_role("link", name="Create it in this cluster")
    expect(create).to_have_attribute("href", "#create")
    good()
