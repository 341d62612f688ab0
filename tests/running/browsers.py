"""A real headless Chromium for tests of the console, driven by Playwright."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

# Debian's package, and the names of others.
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """Return the path of a Chromium; skip the test if there is none."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium is installed; on Debian: apt-get install chromium")
    return found


@contextmanager
def driver() -> Iterator[Any]:
    """Start Playwright; without it, or without a Chromium, the test is skipped."""
    chromium()
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed; it is in the extra dev"
    )
    with playwright.sync_playwright() as started:
        yield started


@contextmanager
def browser(playwright: Any, *flags: str) -> Iterator[Any]:
    """Start a headless Chromium.

    Args:
        playwright: See `driver`.
        *flags: Flags of Chromium.
    """
    # Chromium's sandbox needs another user than root.
    sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
    found = playwright.chromium.launch(executable_path=chromium(), args=[*sandbox, *flags])
    try:
        yield found
    finally:
        found.close()


class Opened:
    """The console in a page, and what went wrong in it.

    Attributes:
        page: Playwright's page.
        problems: Errors and warnings of the page's console, exceptions, and requests to other
            addresses than the server's.
    """

    def __init__(self, context: Any, base: str) -> None:
        self.page = context.new_page()
        self.base = base
        self.problems: list[str] = []
        self.page.set_default_timeout(20_000)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        self.page.on("request", self._request)

    def until(self, expression: str, seconds: float = 20) -> None:
        """Wait until an expression of JavaScript is true.

        Playwright's own function for it compiles text, which the page's policy forbids.
        """
        ends = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            assert time.monotonic() < ends, (
                f"within {seconds} s it did not become true: {expression}"
            )
            self.page.wait_for_timeout(50)

    def _console(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(f"{message.type}: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:", "blob:")):
            self.problems.append(f"request to {request.url}")

    def show(self, view: str = "", path: str = "/") -> Any:
        """Open a view of the console, and wait until it is drawn; return the page."""
        self.page.goto(f"{self.base}{path}{f'#{view}' if view else ''}")
        self.page.locator("#foot a").first.wait_for()
        return self.page


@contextmanager
def opened(browser: Any, base: str, **settings: Any) -> Iterator[Opened]:
    """Open a window for the console of a server.

    Args:
        browser: See `browser`.
        base: `http://host:port`.
        **settings: Settings of Playwright's context, such as `color_scheme`.
    """
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 850}} | settings)
    try:
        yield Opened(context, base)
    finally:
        context.close()


def number_of(text: str) -> float:
    """Return the first number of a text, without its commas: 1234.5 of `1,234.5 ms`."""
    found = re.search(r"-?\d[\d,]*(?:\.\d+)?", text)
    assert found, f"no number in {text!r}"
    return float(found[0].replace(",", ""))
