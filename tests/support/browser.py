"""A real browser, for pages that people see."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page, sync_playwright

WITHOUT_BROWSER = "GATEWAY_TEST_WITHOUT_BROWSER"
"""Set to 1 to leave out the tests that need Chromium; `make test` says so where it has to."""
PROGRAMS = ("chromium", "google-chrome")
TIMEOUT_MILLISECONDS = 15_000


def find_browser() -> str:
    """The path of Chromium; the test fails without it, unless it may be left out."""
    found = next((path for path in map(shutil.which, PROGRAMS) if path), None)
    if found is None:
        if os.environ.get(WITHOUT_BROWSER) == "1":
            pytest.skip("there is no Chromium on this machine")
        pytest.fail(f"this test needs Chromium on the PATH; {WITHOUT_BROWSER}=1 leaves such tests out")
    return found


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Chromium without a window."""
    executable = find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable)
        yield browser
        browser.close()


@contextmanager
def open_page(browser: Browser, base_url: str, **context: Any) -> Iterator[Page]:
    """A page with cookies of its own. Whatever it complains about fails the test: blocked scripts, errors, dialogs."""
    complaints: list[str] = []

    def refuse(dialog: Dialog) -> None:
        complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    window = browser.new_context(base_url=base_url, **context)
    page = window.new_page()
    page.set_default_timeout(TIMEOUT_MILLISECONDS)
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("dialog", refuse)
    page.on("console", lambda said: complaints.append(said.text) if _is_complaint(said) else None)
    yield page
    window.close()
    assert [] == complaints


def _is_complaint(said: Any) -> bool:
    """An error, but not the browser's own line about an answer with a status of 400 or more: tests ask for those."""
    return said.type == "error" and "the server responded with a status" not in said.text
