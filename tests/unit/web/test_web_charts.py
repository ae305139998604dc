"""The roofline and the minute on the page are those of the engine, for eyes and for readers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from guide.catalog import load
from guide.cli.app import app as cli
from guide.web.charts import LogAxis
from guide.web.settings import Settings
from tests.web_questions import CHAT, NODES, client_of, url

TFLOP = 1e12


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of(Settings(nodes_file=NODES, answers_per_minute=100_000)) as client:
        yield client


def explained(folder: Path, client: TestClient, fields: dict[str, Any]) -> dict[str, Any]:
    """What `guide explain -o json` says to the question of the page."""
    for name in ("plan.yaml", "nodes.yaml"):
        (folder / name).write_bytes(client.get(url(fields, f"/download/{name}")).content)
    words = ["explain", "-f", f"{folder}/plan.yaml", "--nodes", f"{folder}/nodes.yaml"]
    return json.loads(CliRunner().invoke(cli, [*words, "-o", "json"]).stdout)


def numbers(page: str, title: str) -> list[list[str]]:
    """The table below a chart: what people read who do not see it."""
    table = page[page.index(f"Numbers of “{title}”") :]
    table = table[: table.index("</table>")]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in table.split("<tr>")]
    return [[unescape(cell) for cell in row] for row in rows if row]


def test_the_roofline_is_that_of_the_command_line(client: TestClient, tmp_path: Path):
    page = client.get(url(CHAT)).text
    found = explained(tmp_path, client, CHAT)
    (group,) = found["groups"]
    gpu = load().gpus[found["evaluation"]["groups"][0]["gpu"]]
    peak = (gpu.bf16_flop_per_s or 0) / TFLOP
    rows = numbers(page, f"How well {gpu.name} is used")
    assert [row[0] for row in rows] == ["reading prompts", "writing answers"]
    for row, step in zip(rows, (group["promptStep"], group["decodeStep"]), strict=True):
        flop, moved = (sum(op[key] for op in step["operators"]) for key in ("flop", "bytes"))
        intensity, rate, roof = (float(cell.replace(",", "")) for cell in row[1:4])
        assert intensity == pytest.approx(flop / moved, rel=0.01)
        assert rate == pytest.approx(flop / step["seconds"] / TFLOP, rel=0.01)
        assert roof == pytest.approx(
            min(peak, flop / moved * gpu.hbm_bytes_per_s / TFLOP), rel=0.01
        )
        assert row[4] == f"{rate / roof:.0%}"
        assert rate < roof
    assert [row[5] for row in rows] == ["arithmetic", "memory bandwidth"]


@pytest.mark.parametrize("gpu", ["A100-80GB", "L4", "MI300X", "H200"])
def test_no_step_is_above_its_roof(client: TestClient, gpu: str):
    page = client.get(url({**CHAT, "rps": "1", "ttft": "", "tpot": "", "pool": f"{gpu}:1:8"})).text
    rows = numbers(page, f"How well {gpu} is used")
    assert len(rows) == 2
    for row in rows:
        assert 0 < int(row[4].rstrip("%")) <= 100
    for kind in ("prompt", "decode"):
        (dot,) = re.findall(rf'mark {kind}" cx="([\d.]+)" cy="([\d.]+)"', page)
        (top,) = {
            y for x, y in corners(page) if float(x) == max(float(x) for x, _ in corners(page))
        }
        assert float(dot[1]) >= float(top)


def corners(page: str) -> list[tuple[str, str]]:
    (points,) = re.findall(r'class="roof" points="([^"]+)"', page)
    return [tuple(point.split(",")) for point in points.split()]  # pyright: ignore


def test_the_minute_has_sixty_seconds_and_no_more(client: TestClient):
    page = client.get(url(CHAT)).text
    for title in ("Requests in a replica", "KV cache in use"):
        rows = numbers(page, title)
        assert 45 <= len(rows) <= 60
        assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1))
    assert max(int(row[1]) for row in numbers(page, "Requests in a replica")) > 5
    first = numbers(page, "Time to first token, second by second")
    (marks,) = re.findall(r'id="about-first-1".*?</svg>', page, re.DOTALL)
    assert marks.count("<circle") == len(first)


def test_every_chart_has_words_and_numbers(client: TestClient):
    page = client.get(url(CHAT)).text
    charts = re.findall(r'<figure class="chart">(.*?)</figure>', page, re.DOTALL)
    assert len(charts) == 11  # three of them over the batch size
    for chart in charts:
        assert re.search(r'role="img" aria-labelledby="(about-[\w-]+)">\s*<title id="\1">', chart)
        assert "Numbers of" in chart
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_a_logarithmic_axis_keeps_distances():
    axis = LogAxis(bottom=0.5, top=5000, start=0, end=400)
    assert [axis.at(v) for v in (0.1, 0.5, 50, 5000, 1e9)] == [0, 0, 200, 400, 400]
    assert [tick.text for tick in axis.ticks(lambda v: f"{v:g}")] == ["1", "10", "100", "1000"]


def test_an_infeasible_answer_has_no_inside(client: TestClient):
    page = client.get(url({**CHAT, "ttft": "5"}))
    assert page.status_code == 200
    assert "inside-title" not in page.text
