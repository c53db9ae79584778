"""
A browser without a window, for tests of what only browsers do.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from typing import Any

from invproxy.test.programs import DEADLINE, Found, IntegrationTestCase, eventually, freePort

_LOADING = DEADLINE - 20.0
"""Seconds that a page may take: selenium itself waits for two minutes, and would not say for what."""


def missing(*modules: str) -> str | None:
    """
    Say what is not installed of what a test with a browser needs.

    @param modules: Python modules that it needs besides.
    """
    found: dict[str, object] = {
        "chromium": shutil.which("chromium") or shutil.which("chromium-browser"),
        "chromedriver": shutil.which("chromedriver"),
    }
    for module in ("selenium", *modules):
        found[module] = importlib.util.find_spec(module)
    names = [name for name, where in found.items() if not where]
    return f"not installed: {', '.join(names)}" if names else None


def startBrowser(case: IntegrationTestCase, profile: str, *flags: str) -> Any:
    """
    Start a browser that ends with the test.

    @param profile: a directory that it may use.
    @param flags: more command-line flags, without their dashes.
    """
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = (
        shutil.which("chromium") or shutil.which("chromium-browser") or "chromium"
    )
    for flag in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        *("disable-dev-shm-usage", "no-proxy-server", "window-size=1280,900"),
        f"user-data-dir={profile}",
        *flags,
    ):
        options.add_argument(f"--{flag}")
    case.patch(os, "environ", environ := os.environ.copy())
    for name in [name for name in environ if name.lower().endswith("_proxy")]:
        del environ[name]  # selenium would take it to its own driver
    service = ChromeService(shutil.which("chromedriver"), port=freePort())
    driver = Chrome(options=options, service=service)
    case.addCleanup(driver.quit)
    driver.set_page_load_timeout(_LOADING)
    driver.set_script_timeout(_LOADING)
    return driver


def waitIn(driver: Any, check: Callable[[], Found], what: str) -> Found:
    """
    Wait for something in a browser, whose pages come and go meanwhile.

    @param check: gives something true once it is so.
    @param what: what is awaited, for the failure.
    @return: what C{check} gave.
    """
    from selenium.common.exceptions import WebDriverException

    def attempt() -> Found | None:
        try:
            return check()
        except WebDriverException:
            return None

    try:
        found = eventually(attempt, what)
    except AssertionError as error:
        page = driver.page_source[:2000]
        raise AssertionError(f"{error}; at {driver.current_url}:\n{page}") from None
    assert found is not None
    return found


def find(driver: Any, selector: str, text: str = "") -> Any:
    """
    Wait for something that can be seen, and be used.

    @param selector: what, in CSS.
    @param text: a text that it has.
    """

    def look() -> Any:
        for element in driver.find_elements("css selector", selector):
            if element.is_displayed() and element.is_enabled() and text in element.text:
                return element
        return None

    return waitIn(driver, look, f"{selector} with {text!r} is to be seen")
