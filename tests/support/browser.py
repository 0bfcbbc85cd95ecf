"""A real browser, for pages that people see."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Dialog, Page, sync_playwright

from tests.support.processes import refuse_in_unit_test
from tests.support.programs import find_program

TIMEOUT_MILLISECONDS = 15_000


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run Chromium without a window."""
    executable = find_program("chromium", "google-chrome")
    refuse_in_unit_test(executable)
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
