"""Pictures of the web page for the documentation: `python -m hack.screenshots [DIR]`.

Needs Chromium; it starts servers of its own. The plans are those of `hack.plans_page`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

import httpx
import typer
from playwright.sync_api import Browser, sync_playwright
from tenacity import retry, stop_after_delay, wait_fixed

ROOT = Path(__file__).resolve().parents[1]
PORT = 8137
CHAT = (
    "model=meta-llama/Llama-3.1-8B-Instruct&input=1024&input95=3000&output=256&output95=700&rps=8"
    "&ttft=1000&tpot=50&e2e=30000&usd=40&pool=H100-SXM:2:8&pool=A100-80GB:2:8&pool=L4:3:1:0.8&ask=1"
)
BUSY = CHAT.replace("rps=8", "rps=40")
FOUNDER = (
    "model=openai/gpt-oss-20b&input=1024&input95=3000&output=256&output95=700&rps=1.11"
    "&ttft=1000&tpot=50&source=rent&people=50&every=45&ask=1"
)
# name -> path, width, height
PICTURES = {
    "web-answer": (f"/?{CHAT}", 1280, 1420),
    "web-relax": (f"/?{CHAT.replace('ttft=1000', 'ttft=20')}", 1280, 900),
    "web-compare": (f"/?{BUSY}&compare={quote(CHAT)}", 1280, 900),
    "web-phone": (f"/?{CHAT}", 390, 1500),
}
PLANS = {"web-plans": ("/plans", 1280, 420)}
INSIDE = "section:has(#inside-title)"  # roofline and timeline, far down on the page
# The three stories of tests/e2e/test_stories.py, on the screens on which they are told.
STORIES = {
    "founder": f"/?{FOUNDER}",
    "finance": f"/?{CHAT}",
    "alert": "/plans/ml/chat",
}
SCREENS = {"desk": (1440, 900), "laptop": (1280, 720), "phone": (390, 844)}
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


def main(
    folder: Annotated[Path, typer.Argument(help="Where the pictures go.")] = ROOT / "docs/img",
) -> None:
    """Serve the page, visit it, and write one PNG for each picture."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise typer.BadParameter("no Chromium found: install it first")
    (folder / "stories").mkdir(parents=True, exist_ok=True)
    alone = [sys.executable, "-m", "guide", "serve", "--port", str(PORT), "--no-cluster"]
    beside_plans = [sys.executable, "-m", "hack.plans_page", str(PORT)]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        with _serving(alone):
            for name, (path, width, height) in PICTURES.items():
                _take(browser, path, (width, height), folder / f"{name}.png")
            _take(browser, f"/?{CHAT}", (1280, 900), folder / "web-inside.png", INSIDE)
            _tell(browser, folder, "founder", "finance")
        with _serving(beside_plans):
            for name, (path, width, height) in PLANS.items():
                _take(browser, path, (width, height), folder / f"{name}.png")
            _tell(browser, folder, "alert")


@contextmanager
def _serving(command: list[str]) -> Generator[None]:
    server = subprocess.Popen(command, cwd=ROOT)
    try:
        _wait()
        yield
    finally:
        server.terminate()
        server.wait(60)


def _tell(browser: Browser, folder: Path, *stories: str) -> None:
    """Each story on each screen, in light and dark."""
    for story, (screen, size), scheme in product(stories, SCREENS.items(), SCHEMES):
        target = folder / f"stories/{story}-{screen}-{scheme}.png"
        _take(browser, STORIES[story], size, target, scheme=scheme)


def _take(
    browser: Browser,
    path: str,
    size: tuple[int, int],
    target: Path,
    part: str | None = None,
    scheme: Scheme = "light",
) -> None:
    """The top of a page, or a part of it by its selector; parts may be folded."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page.goto(f"http://127.0.0.1:{PORT}{path}", timeout=120_000)
    # what is found so far is shown on a slow machine until the answer is there
    page.locator("#so-far-title").wait_for(state="detached", timeout=120_000)
    page.evaluate("document.activeElement.blur()")  # the answer that came has the focus
    if part:
        page.locator("#expert > summary").click()
    (page.locator(part) if part else page).screenshot(path=target)
    page.close()
    print(f"{target}: {target.stat().st_size / 1024:.0f} KiB")


@retry(stop=stop_after_delay(30), wait=wait_fixed(0.1), reraise=True)
def _wait() -> None:
    httpx.get(f"http://127.0.0.1:{PORT}/healthz", trust_env=False).raise_for_status()


if __name__ == "__main__":
    typer.run(main)
