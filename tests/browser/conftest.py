"""The real page in a real browser: Debian's Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def chromium():
    """Start Debian's Chromium; without one the tests are skipped, or fail where CI is set."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=quiet)
        yield browser
        browser.close()


class Watched:
    """A page, and what it said and asked for while it was open."""

    def __init__(self, page, address: str):
        self.page, self.address = page, address
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        page.set_default_timeout(30_000)
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._note)

    def _note(self, request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.elsewhere.append(request.url)

    def open(self, path: str = "/"):
        """Go to a page of the app and wait until it can be used."""
        self.page.goto(self.address + path)
        self.page.wait_for_selector("[role=tab]")
        return self.page

    def tab(self, name: str):
        """Open a tab by its title and return its panel."""
        tab = self.page.get_by_role("tab", name=name, exact=True).first
        if tab.is_visible():
            tab.click()
        else:  # a narrow page puts it into a menu
            self.page.locator(".overflow-menu > button").click()
            self.page.locator(".overflow-dropdown button", has_text=name).click()
        panel = self.page.locator("[role=tabpanel]:visible").first
        panel.locator("button.primary").first.wait_for()
        return panel

    def type(self, box, text: str) -> None:
        """Type into a box; again where a tab that is just opening puts its example over what was typed."""
        for _ in range(5):
            box.fill(text)
            self.page.wait_for_timeout(300)
            if box.input_value() == text:
                return
        pytest.fail(f"the box does not keep what is typed: {text!r}")

    def run(self, panel) -> str:
        """Press the tab's primary button and return the sentence of the answer."""
        panel.locator("button.primary").first.click()
        said = panel.locator(".gb-sentence p").first
        self.page.wait_for_function("node => /[.。]$/.test(node.textContent.trim())", arg=said.element_handle())
        return said.inner_text()


@pytest.fixture
def watched(chromium, address) -> Iterator[Watched]:
    """Give a fresh page; afterwards nothing may have gone wrong on it, and nothing been asked of another host."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = Watched(context.new_page(), address)
    yield page
    context.close()
    assert not page.errors
    assert not page.elsewhere
