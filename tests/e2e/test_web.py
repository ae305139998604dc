"""The web page in a real browser, used as a person would: typing, pressing, reading."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tenacity import retry, stop_after_delay, wait_fixed
from typer.testing import CliRunner

from guide.cli.app import app as cli
from hack.ports import free_port
from tests.e2e.conftest import ROOT

NODES = ROOT / "examples/nodes.yaml"
MODEL = "meta-llama/Llama-3.1-8B-Instruct"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
PHONE = {"width": 390, "height": 844}
HOSTILE = '"><script>window.hacked=1</script><img src=x onerror=window.hacked=1>'
Opener = Callable[..., Page]


@pytest.fixture(scope="module")
def chromium() -> str:
    """The Chromium of the system; skipped for people who have none, but never in CI."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    return found if found else _without_browser()


def _without_browser() -> str:
    problem = "no Chromium found: install it, for example by apt-get install chromium"
    if os.environ.get("CI"):
        pytest.fail(problem, pytrace=False)
    pytest.skip(problem)


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """`guide serve` as its own process."""
    with serving("--nodes", str(NODES)) as address:
        yield address


@contextmanager
def serving(*words: str, **variables: str) -> Iterator[str]:
    """The address of a server on a free port."""
    port = free_port()
    command = [sys.executable, "-m", "guide", "serve", "--port", str(port), *words]
    limit = {"GUIDE_WEB_ANSWERS_PER_MINUTE": "10000"}
    server = subprocess.Popen(command, env={**os.environ, **limit, **variables})
    try:
        _ready(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


@retry(stop=stop_after_delay(120), wait=wait_fixed(0.1), reraise=True)
def _ready(site: str) -> None:
    httpx.get(f"{site}/healthz", trust_env=False).raise_for_status()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    expect.set_options(timeout=60_000)  # it ends a wait, it judges no speed
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, site: str) -> Iterator[Opener]:
    """Open the page in a fresh profile; complaints of the browser fail the test."""
    said: list[str] = []
    contexts: list[Any] = []

    def open_page(path: str = "/", **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda m: said.append(m.text) if "Content Security" in m.text else None)
        page.goto(site + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not said


def fill_in(page: Page) -> None:
    """What a person types for a chat on three pools."""
    page.get_by_role("button", name="Chat").click()
    page.wait_for_url(re.compile("input95=3000"))
    page.get_by_label("Hugging Face id").fill(MODEL)
    for index, (gpu, nodes, per) in enumerate(
        [("H100-SXM", 2, 8), ("A100-80GB", 2, 8), ("L4", 3, 1)]
    ):
        if index:
            page.get_by_role("button", name="Add a pool").click()
        pool = page.get_by_role("group", name=f"Pool {index + 1}")
        pool.get_by_label("GPU", exact=True).select_option(gpu)
        pool.get_by_label("Nodes", exact=True).fill(str(nodes))
        pool.get_by_label("GPUs per node").fill(str(per))


def ask(page: Page) -> None:
    page.get_by_role("button", name="Recommend", exact=True).last.click()
    expect(page.locator("#answer-title")).to_be_visible()


def unfold(page: Page) -> None:
    """Open what experts read."""
    page.get_by_text("Details for experts").click()


def saved(page: Page, link: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("link", name=link, exact=True).click()
    target = folder / link
    download.value.save_as(target)
    return target


def faults(page: Page) -> list[str]:
    """Accessibility faults that axe finds, of any weight."""
    found = Axe().run(page).response["violations"]
    return [f"{v['impact']} {v['id']}: {v['nodes'][0]['html'][:120]}" for v in found]


def test_a_person_gets_the_answer_of_the_command_line(visit: Opener, tmp_path: Path):
    page = visit()
    fill_in(page)
    ask(page)
    plan, nodes = (saved(page, name, tmp_path) for name in ("plan.yaml", "nodes.yaml"))
    words = ["plan", "-f", str(plan), "--nodes", str(nodes), "-o", "json"]
    expected = json.loads(CliRunner().invoke(cli, words).stdout)
    assert json.loads(saved(page, "recommendation.json", tmp_path).read_text()) == expected
    best = expected["best"]
    group = best["groups"][0]
    title = page.locator("#answer-title").inner_text()
    assert group["gpu"] in title
    assert f"${best['usdPerHour']:.2f}" in title
    unfold(page)
    card = page.get_by_role("article").first
    expect(card).to_contain_text(f"${best['usdPerHour']:.2f}/h")
    ttft = best["predicted"]["ttftSeconds"]
    expect(card).to_contain_text(f"{ttft['p95'] * 1000:.0f} ms")
    low, high = (ttft["interval90"][end] * 1000 for end in ("lower", "upper"))
    expect(card).to_contain_text(f"{low:.0f} ms – {high:.0f} ms")
    with zipfile.ZipFile(saved(page, "manifests.zip", tmp_path)) as archive:
        text = archive.read("plan/deployment-0.yaml")
    assert yaml.safe_load(text)["spec"]["replicas"] == group["replicas"]
    assert saved(page, "REVIEW.md", tmp_path).read_text().startswith("# plan")


def test_the_address_reproduces_the_page(visit: Opener):
    page = visit()
    fill_in(page)
    ask(page)
    again = visit(page.url[page.url.index("/", 8) :])
    assert again.locator("#answer-title").inner_text() == page.locator("#answer-title").inner_text()
    expect(again.get_by_label("Hugging Face id")).to_have_value(MODEL)
    assert again.get_by_role("group", name=re.compile("Pool")).count() == 3


def test_a_relaxation_is_followed(visit: Opener):
    page = visit()
    fill_in(page)
    page.get_by_label("First token within").fill("20")
    ask(page)
    expect(page.locator("#answer-title")).to_contain_text("None of")
    link = page.get_by_role("link", name=re.compile("First token within: .* instead of 20"))
    needed = re.search(r": ([\d,]+) ms", link.inner_text())
    assert needed
    link.click()
    expect(page.locator("#answer-title")).to_contain_text("Run ")
    expect(page.get_by_label("First token within")).to_have_value(needed[1].replace(",", ""))


def test_two_runs_stand_side_by_side(visit: Opener):
    page = visit()
    fill_in(page)
    ask(page)
    first = page.locator("#answer-title").inner_text()
    page.get_by_role("link", name="Compare with another run").click()
    page.get_by_label("Requests per second").fill("60")
    ask(page)
    table = page.get_by_role("region", name="Table").first
    expect(table).to_contain_text("Requests per second")
    expect(table).to_contain_text(first)
    expect(table).to_contain_text(page.locator("#answer-title").inner_text())
    assert first != page.locator("#answer-title").inner_text()


def test_wrong_fields_say_so_and_take_the_focus(visit: Opener):
    page = visit()
    fill_in(page)
    page.get_by_label("Prompt, mean").fill("many")
    page.get_by_role("button", name="Recommend", exact=True).last.click()
    field = page.get_by_label("Prompt, mean")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    expect(field).to_have_accessible_description(re.compile("Must be a whole number"))
    expect(field).to_have_value("many")
    assert not faults(page)
    page.get_by_role("link", name="Prompt, mean").click()
    assert page.url.endswith("#f-input")


def test_a_chart_says_in_numbers_what_it_draws(visit: Opener):
    page = visit()
    page.get_by_role("link", name="Show me an example").click()
    unfold(page)
    chart = page.locator("figure", has_text="Requests in a replica").first
    expect(
        chart.get_by_role("img", name=re.compile("Requests in a replica: Up to"))
    ).to_be_visible()
    table = chart.get_by_role("region")
    expect(table).to_be_hidden()
    chart.get_by_text("Numbers of").click()
    expect(table).to_be_visible()
    assert table.get_by_role("row").count() > 45


def test_a_node_list_is_uploaded(visit: Opener):
    page = visit()
    fill_in(page)
    page.get_by_label("A node list").check()
    page.get_by_label("File with the nodes").set_input_files(NODES)
    ask(page)
    expect(page.get_by_role("radio", name="A node list")).to_be_checked()
    expect(page.locator("#result")).to_contain_text("h100-sxm-x8")


def test_this_cluster_is_offered(visit: Opener):
    page = visit()
    fill_in(page)
    page.get_by_label("This cluster").check()
    ask(page)
    expect(page.locator("#answer-title")).to_contain_text("Run ")


def test_hostile_text_never_runs(visit: Opener, tmp_path: Path):
    nodes = yaml.safe_load(NODES.read_text())
    for node in nodes["items"]:
        node["metadata"]["labels"]["nvidia.com/gpu.product"] = HOSTILE
    file = tmp_path / "nodes.yaml"
    file.write_text(yaml.safe_dump(nodes))
    page = visit()
    fill_in(page)
    page.get_by_label("A node list").check()
    page.get_by_label("File with the nodes").set_input_files(file)
    ask(page)
    expect(page.locator("#result")).to_contain_text("<script>window.hacked=1</script>")
    page.get_by_label("Hugging Face id").fill(HOSTILE)
    page.get_by_label("Spend at most").fill(HOSTILE)
    page.get_by_role("button", name="Recommend", exact=True).last.click()
    expect(page.locator("#summary")).to_be_visible()
    assert page.evaluate("window.hacked") is None


def test_the_page_works_without_scripts(visit: Opener):
    page = visit(java_script_enabled=False)
    fill_in(page)
    ask(page)
    expect(page.locator("#answer-title")).to_contain_text("Run ")


def test_the_keyboard_is_enough(visit: Opener):
    page = visit()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the question")).to_be_focused()
    page.get_by_label("Hugging Face id").focus()
    page.keyboard.type(MODEL)
    page.keyboard.press("Enter")
    expect(page.locator("#answer-title")).to_be_focused()


SCREENS: dict[str, dict[str, Any]] = {
    "desktop": {},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": PHONE},
}


def test_the_form_is_small_and_nothing_hides_under_its_button(visit: Opener):
    page = visit()
    sizes = page.evaluate(
        "['navigation', 'resource'].flatMap(kind => performance.getEntriesByType(kind))"
        ".map(entry => entry.encodedBodySize)"
    )
    assert sum(sizes) <= 30_000
    button = page.get_by_role("button", name="Recommend", exact=True).last
    for field in page.locator("input:visible, select:visible").all():
        field.focus()
        mine, over = field.bounding_box(), button.bounding_box()
        assert mine is not None
        assert over is not None
        assert mine["y"] + mine["height"] <= over["y"] or mine["y"] >= over["y"] + over["height"]


@pytest.mark.parametrize("screen", SCREENS)
def test_no_accessibility_fault(visit: Opener, screen: str):
    page = visit(**SCREENS[screen])
    assert not faults(page)
    fill_in(page)
    ask(page)
    assert not faults(page)
    unfold(page)
    assert not faults(page)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.evaluate("window.innerWidth")  # nothing to scroll sideways
    page.get_by_label("First token within").fill("20")
    ask(page)
    assert not faults(page)
    page.get_by_role("link", name="Compare with another run").click()
    page.get_by_label("Requests per second").fill("60")
    ask(page)
    assert not faults(page)
    page.goto(page.url.partition("?")[0] + "nowhere")
    expect(page.get_by_role("heading", name="This cannot be done")).to_be_visible()
    assert not faults(page)
