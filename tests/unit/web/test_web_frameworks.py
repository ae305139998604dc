"""The page says why this framework where others were compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guide.domain import Inventory, Plan, Recommendation
from guide.frameworks import FRAMEWORKS
from guide.search.progress import Seen
from guide.search.recommend import recommend
from guide.web import engine, running
from guide.web.settings import Settings
from tests.web_questions import CHAT, NODES, client_of, url


@pytest.mark.parametrize("names", [("vLLM", "SGLang"), ("vLLM",)])
def test_why_not_the_other_stands_on_the_page(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
):
    def answered(plan: Plan, inventory: Inventory, seen: Seen) -> Recommendation:
        del seen
        return recommend(replace(plan, frameworks=names), inventory, engine.catalog())

    monkeypatch.setattr(engine, "answered", answered)
    running.forget()
    with client_of(Settings(nodes_file=NODES)) as client:
        page = client.get(url(CHAT))
    running.forget()
    assert page.status_code == 200
    assert ("Why this framework" in page.text) == (len(names) > 1)
    assert ("The best of each framework" in page.text) == (len(names) > 1)


def test_the_form_names_what_is_compared_by_itself():
    with client_of(Settings(nodes_file=NODES)) as client:
        form = client.get("/").text
    assert f">{' or '.join(FRAMEWORKS)}</option>" in form
    assert all(f">{name} only</option>" in form for name in FRAMEWORKS)
