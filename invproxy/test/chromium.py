"""
A browser without a window, for tests of what only browsers do.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import Any

from invproxy.test.programs import DEADLINE, IntegrationTestCase


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
    driver = Chrome(options=options, service=ChromeService(shutil.which("chromedriver")))
    case.addCleanup(driver.quit)
    driver.set_page_load_timeout(DEADLINE)
    return driver
