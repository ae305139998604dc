"""A long question in a real browser: what is found so far, then the answer, in one place."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.e2e.test_web import MODEL, Opener, browser, chromium, faults, site, visit  # noqa: F401


def test_a_long_question_shows_what_is_found_so_far(visit: Opener):  # noqa: F811
    page = visit()
    page.get_by_role("button", name="Chat").click()
    page.wait_for_url(re.compile("input95=3000"))
    page.get_by_label("Hugging Face id").fill(MODEL)
    page.get_by_label("Anything I can rent").check()
    page.get_by_role("button", name="Recommend", exact=True).last.click()
    expect(page.locator("#so-far-title")).to_be_visible()
    assert not faults(page)
    page.get_by_label("Requests per second").fill("9")  # meanwhile
    expect(page.locator("#answer-title")).to_be_focused()
    expect(page.get_by_label("Requests per second")).to_have_value("9")
    assert "source=rent" in page.url
    assert "progress" not in page.url
