"""Pictures of the web page for the documentation: `python -m hack.screenshots [DIR]`.

Needs Chromium; it starts a server of its own. The plans page needs a cluster with plans in it too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated
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
# name -> path, width, height
PICTURES = {
    "web-answer": (f"/?{CHAT}", 1280, 1420),
    "web-relax": (f"/?{CHAT.replace('ttft=1000', 'ttft=20')}", 1280, 900),
    "web-compare": (f"/?{BUSY}&compare={quote(CHAT)}", 1280, 900),
    "web-phone": (f"/?{CHAT}", 390, 1500),
}
PLANS = {"web-plans": ("/plans", 1280, 420)}
INSIDE = "section:has(#inside-title)"  # roofline and timeline, far down on the page


def main(
    folder: Annotated[Path, typer.Argument(help="Where the pictures go.")] = ROOT / "docs/img",
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Of a cluster whose plans are shown.")
    ] = None,
) -> None:
    """Serve the page, visit it, and write one PNG for each picture."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise typer.BadParameter("no Chromium found: install it first")
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "guide", "serve", "--port", str(PORT)]
    cluster = ["--cluster"] if kubeconfig else ["--no-cluster"]
    variables = {"KUBECONFIG": str(kubeconfig)} if kubeconfig else {}
    server = subprocess.Popen([*words, *cluster], env={**os.environ, **variables})
    try:
        _wait()
        with sync_playwright() as driver:
            browser = driver.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
            )
            pictures = PICTURES | (PLANS if kubeconfig else {})
            for name, (path, width, height) in pictures.items():
                _take(browser, path, (width, height), folder / f"{name}.png")
            _take(browser, f"/?{CHAT}", (1280, 900), folder / "web-inside.png", INSIDE)
    finally:
        server.terminate()
        server.wait(10)


def _take(
    browser: Browser, path: str, size: tuple[int, int], target: Path, part: str | None = None
) -> None:
    """The top of a page, or a part of it by its selector."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.goto(f"http://127.0.0.1:{PORT}{path}")
    (page.locator(part) if part else page).screenshot(path=target)
    page.close()
    print(f"{target}: {target.stat().st_size / 1024:.0f} KiB")


@retry(stop=stop_after_delay(30), wait=wait_fixed(0.1), reraise=True)
def _wait() -> None:
    httpx.get(f"http://127.0.0.1:{PORT}/healthz", trust_env=False).raise_for_status()


if __name__ == "__main__":
    typer.run(main)
